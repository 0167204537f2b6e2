// How fast the connections between hosts are, for the order of the ring: the lowest ranks of each two hosts send each other a few
// segments, all pairs in turns that keep nobody waiting, and every rank learns the whole table. What was measured is kept for as
// long as the worker runs, so that a new generation of the same hosts measures nothing. Off with one host or two.
//
//     4 hosts, 3 turns    0-3 1-2    0-2 3-1    0-1 2-3      a tournament: in each turn everybody meets one other

import { hostName, parseAddress } from "./address.ts";
import { orderHosts } from "./host-order.ts";
import type { Topology } from "./topology.ts";

/** Segments that each of two hosts sends the other, after one that opens the connection. */
const segments = 2;

/** Bytes per second between two hosts, by `pairName`. */
export type Bandwidths = Map<string, number>;

export interface Measuring {
  readonly rank: number;
  readonly addresses: readonly string[];
  readonly segmentBytes: number;
  /** What was measured before, and is now. */
  readonly known: Bandwidths;
  /** All-gather over all ranks, of chunks of equal length. */
  readonly gather: (records: Uint8Array) => Promise<void>;
  /** Sends so many bytes to a rank, which sends as many. */
  readonly exchange: (other: number, bytes: number) => Promise<void>;
  /** Milliseconds. */
  readonly now: () => number;
}

/** The groups in the best order for a ring; those of a host stay together. Rejects only if an exchange does. */
export async function orderByBandwidth(topology: Topology, measuring: Measuring): Promise<Topology> {
  const { addresses, rank } = measuring;
  const hostOf = (each: number): string => hostName(parseAddress(addresses[each]!));
  const hosts = [...new Set(topology.map(([first]) => hostOf(first!)))];
  if (hosts.length < 3) return topology;
  const leaders = hosts.map((host) => addresses.findIndex((_, each) => hostOf(each) === host));
  const own = leaders.indexOf(rank);
  let table = await share(hosts, leaders, measuring);
  for (const pairs of tournament(hosts.length)) {
    const [a, b] = pairs.find((pair) => pair.includes(own)) ?? [];
    if (a === undefined || b === undefined || table[a]![b]! > 0) continue;
    const other = a === own ? b : a;
    measuring.known.set(pairName(hosts[a]!, hosts[b]!), await measure(leaders[other]!, measuring));
  }
  if (table.some((row, a) => row.some((each, b) => a !== b && each === 0)))
    table = await share(hosts, leaders, measuring);
  table.forEach((row, a) => row.forEach((each, b) => measuring.known.set(pairName(hosts[a]!, hosts[b]!), each)));
  const place = orderHosts(table).map((host) => hosts[host]!);
  return [...topology].sort(([a], [b]) => place.indexOf(hostOf(a!)) - place.indexOf(hostOf(b!)));
}

/** Bytes per second both ways at once. */
async function measure(other: number, { exchange, now, segmentBytes }: Measuring): Promise<number> {
  await exchange(other, segmentBytes);
  const startedAt = now();
  await exchange(other, segments * segmentBytes);
  return (segments * segmentBytes) / Math.max(1e-6, (now() - startedAt) / 1000);
}

/** What the leaders of two hosts know of them, the lower of the two; 0 if one of them knows nothing. */
async function share(hosts: readonly string[], leaders: readonly number[], measuring: Measuring): Promise<number[][]> {
  const { rank, addresses, known } = measuring;
  const rowLength = Math.ceil(hosts.length / 8) * 8; // chunks begin at multiples of 64 bytes
  const table = new Float64Array(addresses.length * rowLength);
  const own = leaders.indexOf(rank);
  if (own >= 0) {
    for (const [b, host] of hosts.entries()) table[rank * rowLength + b] = known.get(pairName(hosts[own]!, host)) ?? 0;
  }
  await measuring.gather(new Uint8Array(table.buffer));
  const told = (a: number, b: number): number => table[leaders[a]! * rowLength + b]!;
  return hosts.map((_, a) => hosts.map((__, b) => Math.min(told(a, b), told(b, a))));
}

/** Every two of `count` meet once, in turns in which nobody is in two pairs. */
export function tournament(count: number): [number, number][][] {
  const seats = count + (count % 2); // whoever meets the seat that is empty rests
  return Array.from({ length: seats - 1 }, (_, turn) => {
    const circle = Array.from({ length: seats - 1 }, (__, seat) => (seat + turn) % (seats - 1));
    const table = [...circle, seats - 1];
    return Array.from({ length: seats / 2 }, (__, pair): [number, number] => {
      const [a, b] = [table[pair]!, table[seats - 1 - pair]!];
      return [Math.min(a, b), Math.max(a, b)];
    }).filter(([, b]) => b < count);
  });
}

function pairName(a: string, b: string): string {
  return [a, b].sort().join(" ");
}
