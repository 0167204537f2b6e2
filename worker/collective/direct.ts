// Which bytes travel when everybody sends to everybody: the schedules for small buffers, as plain data. ring.ts has those for
// large ones; direct-call.ts executes these.
//
//     all-reduce, three places             each sends all that it has to both others, and sums what all three had, in the
//         a --a--> 1   2                   order of the places: one message after another in no link, so one latency in
//         b --b--> 0   2                   all, where the ring has 2(n-1); and every place does the same additions on
//         c --c--> 0   1                   the same numbers, so all end with the same bits
//
// Cost: a rank sends (n-1) S bytes, more than the ring's 2(n-1)/n S, in one latency a instead of 2(n-1) and the ring's wait for
// acknowledgement: with bandwidth B it is faster while S < 2aB or so, whatever n. What leaves is a copy of the buffer, which is
// small: so the caller may write to its own at once, and nobody waits to hear that the bytes have left.

import type { Cut, Piece } from "./pieces.ts";
import type { Place } from "./ring.ts";

/** What is sent to one other place, and what comes from it. */
export interface Exchange {
  readonly position: number;
  readonly sends: readonly Piece[];
  readonly receives: readonly Piece[];
}

export interface DirectSchedule {
  readonly exchanges: readonly Exchange[];
  /** The pieces that are sums of what all places have: the same that come from each; none if what comes is only copied. */
  readonly sums: readonly Piece[];
}

export type DirectKind = "all-reduce" | "reduce-scatter" | "all-gather";

/** The schedule of one place. */
export function scheduleDirect({ position, chunks }: Place, kind: DirectKind, cut: Cut): DirectSchedule {
  const all = chunks.flat();
  const exchangeWith = (other: number): Exchange => {
    const [own, others] = [chunks[position]!, chunks[other]!];
    const [sends, receives] = { "all-reduce": [all, all], "reduce-scatter": [others, own], "all-gather": [own, others] }[kind] as [number[], number[]]; // prettier-ignore
    const name = kind === "all-reduce" ? "exchange" : kind;
    return { position: other, sends: cut(name, sends), receives: cut(name, receives) };
  };
  const exchanges = othersOf(position, chunks.length).map(exchangeWith);
  return { exchanges, sums: kind === "all-gather" ? [] : (exchanges[0]?.receives ?? []) };
}

/** Everybody has all chunks from the place `root`. */
export function scheduleDirectBroadcast({ position, chunks }: Place, root: number, cut: Cut): DirectSchedule {
  const pieces = cut("broadcast", chunks.flat());
  const exchanges = othersOf(position, chunks.length).map((other) => ({
    position: other,
    sends: position === root ? pieces : [],
    receives: other === root ? pieces : [],
  }));
  return { exchanges, sums: [] };
}

function othersOf(position: number, places: number): number[] {
  return Array.from({ length: places }, (_, other) => other).filter((other) => other !== position);
}
