// How a call goes: which phases it has on a topology, for one rank. Pure: neither memory nor sockets here, only who does what.
//
// One group: a single phase in shared memory. Only groups of one rank: a single phase between them. Both: three.
//
//          host a: ranks 0, 1     host b: ranks 2, 3        all-reduce; the chunks of ranks 0 and 2 are lane 0
//     1    0: sums chunks 0, 2    2: sums chunks 0, 2       inside each host, over its ranks, into the rank that
//          1: sums chunks 1, 3    3: sums chunks 1, 3       carries the lane
//     2    0 <----- lane 0 -----> 2                         a ring between the hosts for each lane: all at once, so that
//          1 <----- lane 1 -----> 3                         all cores and connections have work
//     3    0 -> 1, 1 -> 0         2 -> 3, 3 -> 2            inside each host, the lanes to all ranks
//
// Of buffers that lie in shared memory the three go on at once: a rank sums a segment of its lane just before the ring needs it, and
// spreads it as soon as it is the result, so the wire is busy from the first segment to the last. Nobody meets in between,
// because in all buffers of a group the ranges of a lane are touched by the rank that carries it, and by no other. Memory takes
// time only where it is slower than the wire: S bytes between two hosts take 2(h-1)/h * S/B and two meetings. Other buffers are
// copied through a staging region, in which ranks have to meet: there the phases follow one another, as they do for small ones.
//
// With h hosts a host sends 2(h-1)/h * S bytes to another, however many ranks it has, where a ring over all ranks would send as
// much between any two hosts that are neighbours, but all of it through one rank. Lanes are as many as the smallest group has ranks;
// ranks beyond that help in the memory of their host and send nothing. A chunk belongs to the lane of its rank's place in its
// group, modulo the lanes, and between hosts to the group of its rank. A sum goes through the ranks of a host in ascending order and
// then from host to host; each is made once and copied, or made alike everywhere: all ranks end with the same bits.

import { chunkBytes } from "./chunks.ts";
import { scheduleDirect, scheduleDirectBroadcast, type DirectSchedule } from "./direct.ts";
import { cutInto, type Cut } from "./pieces.ts";
import { modulo, scheduleBroadcast, scheduleRing, type Place, type RingHalves, type Schedule } from "./ring.ts";
import type { LaneMoves } from "./shared-memory/lane-memory.ts";
import type { Move } from "./shared-memory/move.ts";
import { findRank, lanesOf, type Topology } from "./topology.ts";

export type Kind = "all-reduce" | "reduce-scatter" | "all-gather" | "broadcast" | "barrier";

export interface Routed {
  readonly kind: Kind;
  /** Of a broadcast. */
  readonly root?: number;
  readonly byteLength: number;
  /** The buffer lies in memory that the ranks of the group share. */
  readonly inPlace: boolean;
}

export interface RouteOptions {
  /** Largest payload of a frame, bytes; a multiple of 8, the same on all ranks. */
  readonly segmentBytes: number;
  /** Buffers of at most so many bytes go directly between all places; 0 for never. The same on all ranks. */
  readonly directBytes: number;
}

export type Phase =
  | { readonly kind: "memory"; readonly moves: readonly Move[] }
  | {
      readonly kind: "ring";
      readonly schedule: Schedule;
      readonly successor: number;
      readonly predecessor: number;
      /** What this rank does in memory meanwhile. */
      readonly moves?: LaneMoves;
    }
  /** `ranks` are those of the places. */
  | { readonly kind: "direct"; readonly schedule: DirectSchedule; readonly position: number; readonly ranks: readonly number[] }; // prettier-ignore

/** So many places at most exchange directly: each needs a connection to each. */
const maxDirectPlaces = 32;

/** What `rank` does, one after another; every rank of a group has the same memory phases. */
export function routeOf(work: Routed, topology: Topology, rank: number, options: RouteOptions): Phase[] {
  const group = topology[findRank(topology, rank).group]!;
  if (topology.length === 1) return [{ kind: "memory", moves: movesAlone(work, group) }];
  const isSmall = work.byteLength <= options.directBytes && topology.length <= maxDirectPlaces;
  const lanes = isSmall ? 1 : lanesOf(topology);
  const inMemory = (moves: readonly Move[]): Phase[] =>
    group.length > 1 && (moves.length > 0 || work.kind === "barrier") ? [{ kind: "memory", moves }] : [];
  const { before, after } = movesAround(work, topology, group, lanes);
  const between = phaseBetween(work, { topology, rank, lanes, isSmall }, options);
  if (group.length === 1 || !work.inPlace || isSmall) return [...inMemory(before), ...between, ...inMemory(after)];
  const place = group.indexOf(rank);
  const moves: LaneMoves = {
    before: before.filter(({ to }) => to[0] === place),
    after: after.filter(({ from }) => from[0] === place),
  };
  const meeting: Phase = { kind: "memory", moves: [] };
  return [meeting, ...between.map((phase) => (phase.kind === "ring" ? { ...phase, moves } : phase)), meeting];
}

/** The ranks that this one may have to send to, besides those of its group; none are found out later. */
export function neighboursOf(topology: Topology, rank: number): number[] {
  const { group, local } = findRank(topology, rank);
  const lanes = lanesOf(topology);
  const successor = local < lanes ? [topology[modulo(group + 1, topology.length)]![local]!] : [];
  const places = local === 0 && topology.length <= maxDirectPlaces ? topology.map((ranks) => ranks[0]!) : [];
  return [...new Set([...successor, ...places])].filter((other) => other !== rank);
}

const halvesOf: Readonly<Record<Exclude<Kind, "broadcast">, RingHalves>> = {
  "all-reduce": ["reduce-scatter", "all-gather"],
  "reduce-scatter": ["reduce-scatter"],
  "all-gather": ["all-gather"],
  barrier: ["reduce-scatter", "all-gather"],
};

/** Between the groups; nothing for a rank that carries no lane. */
function phaseBetween(
  { kind, root = 0, byteLength }: Routed,
  { topology, rank, lanes, isSmall }: { topology: Topology; rank: number; lanes: number; isSmall: boolean },
  { segmentBytes }: RouteOptions,
): Phase[] {
  const { group: position, local: lane } = findRank(topology, rank);
  if (lane >= lanes) return [];
  const chunks = topology.map((ranks) => ranks.filter((_, local) => local % lanes === lane));
  const place: Place = { position, chunks };
  const cut: Cut = cutInto(topology.flat().length, byteLength, segmentBytes);
  const rootPlace = findRank(topology, root).group;
  const ranks = topology.map((each) => each[lane]!);
  if (isSmall) {
    const schedule =
      kind === "broadcast"
        ? scheduleDirectBroadcast(place, rootPlace, cut)
        : scheduleDirect(place, kind === "barrier" ? "all-reduce" : kind, cut);
    return [{ kind: "direct", schedule, position, ranks }];
  }
  const schedule =
    kind === "broadcast" ? scheduleBroadcast(place, rootPlace, cut) : scheduleRing(place, halvesOf[kind], cut);
  const neighbour = (distance: number): number => ranks[modulo(position + distance, ranks.length)]!;
  return [{ kind: "ring", schedule, successor: neighbour(1), predecessor: neighbour(-1) }];
}

/** Of a group that is alone: everything in one phase. */
function movesAlone({ kind, root = 0, byteLength }: Routed, group: readonly number[]): Move[] {
  const all = group.map((_, local) => local);
  const whole = { begin: 0, end: byteLength };
  const chunk = (local: number) => chunkBytes(local, group.length, byteLength);
  switch (kind) {
    case "all-reduce":
      return [{ ...whole, from: all, to: all }];
    case "reduce-scatter":
      return all.map((local) => ({ ...chunk(local), from: all, to: [local] }));
    case "all-gather":
      return all.map((local) => ({ ...chunk(local), from: [local], to: without(all, local) }));
    case "broadcast":
      return [{ ...whole, from: [root], to: without(all, root) }];
    case "barrier":
      return [];
  }
}

/** Of a group among others: what brings the lanes to the ranks that carry them, and what spreads them. */
function movesAround(
  { kind, root = -1, byteLength }: Routed,
  topology: Topology,
  group: readonly number[],
  lanes: number,
): { before: Move[]; after: Move[] } {
  if (kind === "barrier") return { before: [], after: [] };
  const all = group.map((_, local) => local);
  const worldSize = topology.flat().length;
  const chunks = topology
    .flatMap((ranks) => ranks.map((rank, local) => ({ rank, carrier: local % lanes, own: ranks === group, local })))
    .map((chunk) => ({ ...chunk, ...chunkBytes(chunk.rank, worldSize, byteLength) }))
    .sort((a, b) => a.begin - b.begin);
  const own = chunks.filter((chunk) => chunk.own && chunk.local !== chunk.carrier);
  const rootHere = group.indexOf(root);
  const spread = chunks.map(({ begin, end, carrier }) => {
    const to = all.filter((local) => local !== carrier && local !== rootHere);
    return { begin, end, from: [carrier], to };
  });
  const summed = chunks.map(({ begin, end, carrier }) => ({ begin, end, from: all, to: [carrier] }));
  switch (kind) {
    case "all-reduce":
      return { before: summed, after: spread };
    case "reduce-scatter":
      return {
        before: summed,
        after: own.map(({ begin, end, carrier, local }) => ({ begin, end, from: [carrier], to: [local] })),
      };
    case "all-gather":
      return {
        before: own.map(({ begin, end, carrier, local }) => ({ begin, end, from: [local], to: [carrier] })),
        after: spread,
      };
    case "broadcast": {
      const given = chunks.filter(({ carrier }) => carrier !== rootHere);
      return {
        before:
          rootHere < 0 ? [] : given.map(({ begin, end, carrier }) => ({ begin, end, from: [rootHere], to: [carrier] })),
        after: spread,
      };
    }
  }
}

function without(all: readonly number[], one: number): number[] {
  return all.filter((each) => each !== one);
}
