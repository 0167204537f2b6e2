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
}

export interface RankTask extends AllReduceBench {
  readonly rank: number;
  readonly endpoints: readonly string[];
}

export type FromRank = { readonly address: string } | { readonly measurements: readonly Measurement[] };

/** Runs the ranks to their end. Throws `collective_failed` if one of them dies. */
export async function benchAllReduce(bench: AllReduceBench): Promise<readonly Measurement[]> {
  const script = fileURLToPath(new URL("./rank.js", import.meta.url));
  const children = Array.from({ length: bench.ranks }, () =>
    fork(script, [bench.reach, ...(bench.encrypted === true ? ["encrypted"] : [])]),
  );
  try {
    const endpoints = await Promise.all(children.map((child) => answerOf(child, "address")));
    const answers = children.map((child) => answerOf(child, "measurements"));
    children.forEach((child, rank) => child.send({ ...bench, rank, endpoints } satisfies RankTask));
    const [ofRank0 = []] = await Promise.all(answers);
    return ofRank0;
  } finally {
    for (const child of children) child.kill();
  }
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
