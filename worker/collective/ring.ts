// Which bytes travel when: the schedules of a ring's collectives, as plain data. No sockets, no sums,
// no time; ring-call.ts executes a schedule. The algorithm is Patarasuk and Yuan, "Bandwidth optimal all-reduce
// algorithms for clusters of workstations" (2009).
//
// Every rank r sends to its successor r+1 and receives from its predecessor r-1, and the buffer is cut into one chunk a rank:
//
//        +-----> rank 0 ----->+
//        |                    v
//      rank 3               rank 1          all indices modulo n = 4
//        ^                    |
//        +<----- rank 2 <-----+
//
// An all-reduce has 2(n-1) rounds. In round j of the first n-1 (reduce-scatter) rank r sends chunk r-1-j and adds chunk r-2-j:
// always the chunk it received the round before. It ends with the sum of its own chunk, r. In round j of the other n-1
// (all-gather) it sends chunk r-j and overwrites chunk r-j-1. Each half is a collective of its own, too.
//
//   round            0     1     2   |   3     4     5        worked example, chunk 3, with the values 1, 2, 4, 8 of the
//   rank 0 sends    c3    c2    c1   |  c0    c3    c2        ranks 0 to 3 in it: rank 0 sends 1; rank 1 has 1+2 = 3 and
//   rank 1 sends    c0    c3    c2   |  c1    c0    c3        sends it; rank 2 has 3+4 = 7 and sends it; rank 3 has
//   rank 2 sends    c1    c0    c3   |  c2    c1    c0        7+8 = 15, the sum. All-gather: 15 goes from rank 3 to
//   rank 3 sends    c2    c1    c0   |  c3    c2    c1        rank 0, to rank 1, to rank 2, each copying it.
//
// Every chunk is summed once, in one order, and then copied: all ranks end with the same bits.
// Cost: a rank sends 2(n-1) chunks of S/n bytes, 2(n-1)/n * S in all, whatever n: no all-reduce sends less. Chunks are cut
// into segments, and a segment is forwarded as soon as it is summed, so sending, receiving and summing overlap; with
// latency a, bandwidth B and segments of s bytes the time is about 2(n-1)(a + s/B) + 2(n-1)/n * S/B.
//
// Buffer safety. Transports send without copying, so bytes must not change between being handed over and having left.
// - Within a call, a rank overwrites a segment of chunk c that it sent during reduce-scatter only with the final sum of that
//   segment. The final sum was computed from the partial sum that this rank sent, so its successor had received that frame
//   whole before the final sum could exist: the bytes have left. A segment summed during reduce-scatter is sent after, not
//   before, the addition; a segment written during all-gather or broadcast is never written again.
// - After a call the caller may write anywhere, so a call resolves only when the successor has acknowledged every frame, but for
//   the last few to another host: those are copies, and nobody waits for the latency of their acknowledgement.
// - After an abort or a failure frames may still be queued while the caller writes: the connection is cut, the collective is
//   unusable, and what a neighbour may have computed from such bytes belongs to a step that this rank never reports.
//
// A place in the ring may be in charge of several chunks, or of none: between hosts the places are those of the hosts, and the
// chunks of a place those of the host's ranks (route.ts).

import type { Cut, Piece } from "./pieces.ts";

/** Piece i of `sends` may leave once `i - lead + 1` pieces of `receives` have been taken in (at once when i < lead). */
export interface Schedule {
  readonly sends: readonly Piece[];
  readonly receives: readonly Piece[];
  readonly lead: number;
  /** The first so many of `receives` are partial sums; the others hold the result. */
  readonly partial: number;
}

/** A place in a ring, and the chunks that each place is in charge of. */
export interface Place {
  readonly position: number;
  readonly chunks: readonly (readonly number[])[];
}

/** Which halves of an all-reduce: both, or one alone. */
export type RingHalves = readonly ("reduce-scatter" | "all-gather")[];

/** The schedule of one place. */
export function scheduleRing({ position, chunks }: Place, halves: RingHalves, cut: Cut): Schedule {
  const sends: Piece[] = [];
  const receives: Piece[] = [];
  let lead: number | undefined;
  let partial = 0;
  for (const kind of halves) {
    const cutOf = (place: number): Piece[] => cut(kind, chunks[modulo(place, chunks.length)]!);
    const first = kind === "reduce-scatter" ? position - 1 : position;
    for (let round = 0; round < chunks.length - 1; round++) {
      sends.push(...cutOf(first - round));
      receives.push(...cutOf(first - round - 1));
      lead ??= sends.length;
      if (kind === "reduce-scatter" && round < chunks.length - 2) partial = receives.length;
    }
  }
  return { sends, receives, lead: lead ?? 0, partial };
}

/** All chunks travel once around the ring, from the place `root` to the one before it: every place but that forwards what it gets. */
export function scheduleBroadcast({ position, chunks }: Place, root: number, cut: Cut): Schedule {
  const pieces = cut("broadcast", chunks.flat());
  const distance = modulo(position - root, chunks.length);
  return {
    sends: distance === chunks.length - 1 ? [] : pieces,
    receives: distance === 0 ? [] : pieces,
    lead: distance === 0 ? pieces.length : 0,
    partial: 0,
  };
}

export function modulo(value: number, n: number): number {
  return ((value % n) + n) % n;
}
