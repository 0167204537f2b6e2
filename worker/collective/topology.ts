// Who shares memory with whom, and in which order the others follow: found from the addresses alone, so that all ranks of a
// generation see the same. Moves no data; route.ts says what a call does on it.
//
//     host a: ranks 0, 1, 4    groups [[0, 1, 4], [2, 3], [5]]: the ranks of a group share memory, and rings go from group to
//     host b: ranks 2, 3       group. There are as many rings as every group has ranks for, here one: 0 -> 2 -> 5 -> 0. They
//     host c: rank 5           are called lanes, and rank j of a group carries lane j between the hosts.

import { hostName, isShareable, parseAddress } from "./address.ts";

/** Ranks that share memory, in ascending order; groups in the order of the ring, those of a host one after another. */
export type Topology = readonly (readonly number[])[];

/** Of the ranks at these addresses. */
export function topologyOf(addresses: readonly string[]): Topology {
  const ranks = addresses.map((text, rank) => {
    const address = parseAddress(text);
    return { rank, host: hostName(address), shares: isShareable(address) };
  });
  const hosts = new Set(ranks.map(({ host }) => host));
  return [...hosts].flatMap((name) => {
    const here = ranks.filter(({ host }) => host === name);
    const sharing = here.filter(({ shares }) => shares).map(({ rank }) => rank);
    const alone = here.filter(({ shares }) => !shares).map(({ rank }) => [rank]);
    return sharing.length === 0 ? alone : [sharing, ...alone];
  });
}

/** Where a rank is. */
export function findRank(topology: Topology, rank: number): { readonly group: number; readonly local: number } {
  const group = topology.findIndex((ranks) => ranks.includes(rank));
  return { group, local: topology[group]!.indexOf(rank) };
}

/** Rings between the groups; 0 if there is but one group. */
export function lanesOf(topology: Topology): number {
  return topology.length === 1 ? 0 : Math.min(...topology.map(({ length }) => length));
}

/** "shared memory of 4 ranks", "ring of 4 ranks", "shared memory of 3 + 2 + 1 ranks, joined by 1 ring" */
export function describeTopology(topology: Topology): string {
  if (topology.every(({ length }) => length === 1)) return `ring of ${topology.length} ranks`;
  if (topology.length === 1) return `shared memory of ${topology[0]!.length} ranks`;
  const lanes = lanesOf(topology);
  const sizes = topology.map(({ length }) => length).join(" + ");
  return `shared memory of ${sizes} ranks, joined by ${lanes} ${lanes === 1 ? "ring" : "rings"}`;
}
