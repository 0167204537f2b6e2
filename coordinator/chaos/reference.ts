// The same run without faults, up to the same step: what the one with faults is compared with.

import { join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { checkpointName } from "../store/checkpoints.ts";
import { readFinal, type Final } from "./check.ts";
import { startCluster } from "./cluster.ts";

export interface ReferenceOptions {
  /** As of the run with faults. */
  readonly args: readonly string[];
  readonly workers: number;
  /** The step to compare at, from 1. */
  readonly step: number;
  readonly run: string;
  readonly logs: string;
  readonly signal: AbortSignal;
}

/** Throws what the coordinator said when it ended before. */
export async function trainReference(options: ReferenceOptions): Promise<Final> {
  const { args, run, step, signal } = options;
  // A checkpoint is written at that step, whatever comes after it in the schedule; the newer one of the end stays beside it.
  const own = { "checkpoint.name": run.split("/").at(-1), "checkpoint.every": step, "checkpoint.keep": 2 };
  const sets = Object.entries(own).flatMap(([path, value]) => ["--set", `${path}=${value}`]);
  const cluster = await startCluster({ args: [...args, ...sets], run, logs: join(options.logs, "reference") });
  try {
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    const saved = cluster.said(new RegExp(`^saved step ${step} `), either);
    saved.catch(() => undefined);
    void cluster.coordinator.exited.then(() => ended.abort());
    for (let i = 0; i < options.workers; i++) cluster.startWorker();
    await saved.catch(() => signal.throwIfAborted());
    cluster.coordinator.kill("SIGINT");
    const { code, signal: killedBy } = await cluster.coordinator.exited;
    if (code !== 0 && code !== 130) {
      const last = cluster.printed.at(-1) ?? "";
      throw new RingtuneError("worker_lost", `the run without faults ended with ${killedBy ?? code}: ${last}`);
    }
    return await readFinal(run, join(run, "checkpoints", checkpointName(step)));
  } finally {
    await cluster.close();
  }
}
