// Bus bandwidth of the all-reduce between processes on this host, reported as nccl-tests does: the clock starts after a barrier
// and stops when rank 0 holds the sum; algbw = S/t, busbw = S/t * 2(n-1)/n. Medians. rank.ts is each of the processes.

import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { RingtuneError } from "../../common/errors.ts";
import type { Reach } from "../collective/address.ts";

export interface AllReduceBench {
  readonly ranks: number;
  readonly sizesBytes: readonly number[];
  readonly iterations: number;
  /** The fastest way that the ranks may use. */
  readonly reach: Reach;
  /** With CURVE. */
  readonly encrypted?: boolean;
  /** Where each rank runs: on this host, over loopback, unless it is said. */
  readonly places?: readonly Place[];
}

export interface Place {
  /** Address that the rank listens on. */
  readonly host: string;
  /** What its process is put behind, such as ip netns exec NAME. */
  readonly prefix?: readonly string[];
  /** The address by which others reach it, instead of its own. */
  readonly reachedBy?: (address: string) => Promise<string>;
}

export interface Measurement {
  readonly sizeBytes: number;
  /** Median time of an all-reduce. */
  readonly seconds: number;
  /**
   * What memory alone would take: every rank reads and writes as many bytes of its own in place, all at once. The sums over
   * shared memory move as much.
   */
  readonly limitSeconds: number;
  /** How the bytes travelled. */
  readonly path: string;
  /** Payload of one all-reduce that left its host, of all ranks together. */
  readonly bytesBetweenHosts: number;
  /** Most memory, of any rank, beyond what it had before it reduced: 0 where the system does not tell. */
  readonly extraBytes: number;
}

/** What a rank is started with. */
export interface RankSettings {
  readonly reach: Reach;
  readonly encrypted: boolean;
  readonly host: string;
}

export interface RankTask extends Omit<AllReduceBench, "places"> {
  readonly rank: number;
  readonly endpoints: readonly string[];
}

export type FromRank = { readonly address: string } | { readonly measurements: readonly Measurement[] };

/** All-reduces of each size before those that count: by then V8 has compiled what they run. */
export const warmups = 10;

/** Runs the ranks to their end. Throws `collective_failed` if one of them dies. */
export async function benchAllReduce({ places = [], ...bench }: AllReduceBench): Promise<readonly Measurement[]> {
  const { ranks, reach, encrypted = false } = bench;
  const all = Array.from({ length: ranks }, (_, rank): Place => places[rank] ?? { host: "127.0.0.1" });
  const children = all.map(({ host, prefix }) => startRank({ reach, encrypted, host }, prefix));
  try {
    const own = await Promise.all(children.map((child) => answerOf(child, "address")));
    const endpoints = await Promise.all(
      own.map(async (address, rank) => (await all[rank]!.reachedBy?.(address)) ?? address),
    );
    const answers = children.map((child) => answerOf(child, "measurements"));
    children.forEach((child, rank) => child.send({ ...bench, rank, endpoints } satisfies RankTask));
    const [first = [], ...others] = await Promise.all(answers);
    return first.map((measurement, size) => {
      const ofAll = [measurement, ...others.map((measurements) => measurements[size]!)];
      return {
        ...measurement,
        bytesBetweenHosts: ofAll.reduce((sum, { bytesBetweenHosts }) => sum + bytesBetweenHosts, 0),
        extraBytes: Math.max(...ofAll.map(({ extraBytes }) => extraBytes)),
      };
    });
  } finally {
    for (const child of children) child.kill();
  }
}

function startRank(settings: RankSettings, prefix: readonly string[] = []): ChildProcess {
  const script = fileURLToPath(new URL("./rank.js", import.meta.url));
  const [command = process.execPath, ...rest] = [...prefix, process.execPath];
  return fork(script, [JSON.stringify(settings)], { execPath: command, execArgv: rest });
}

/** Bytes per second as nccl-tests counts them. */
export function bandwidthOf(sizeBytes: number, ranks: number, seconds: number): { algbw: number; busbw: number } {
  const algbw = sizeBytes / seconds;
  return { algbw, busbw: (algbw * 2 * (ranks - 1)) / ranks };
}

interface Answers {
  address: string;
  measurements: readonly Measurement[];
}

function answerOf<K extends keyof Answers>(child: ChildProcess, key: K): Promise<Answers[K]> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code) =>
      reject(new RingtuneError("collective_failed", `a rank of the benchmark ended with ${code} before its ${key}`)),
    );
    child.once("message", (message) => resolve((message as Answers)[key]));
  });
}
