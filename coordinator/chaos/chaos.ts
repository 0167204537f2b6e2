// A run under seeded faults, from its first process to the check of what is left of it: starts a coordinator and workers as a
// person would, injects what the plan says when the plan says, and asks the run's own files whether anything was lost.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../common/errors.ts";
import { now } from "../rpc/driver.ts";
import { checkRun, type Verdict } from "./check.ts";
import { inject, type Moment, type Outcome } from "./inject.ts";
import { planFault, type FaultKind, type PlannedFault } from "./plan.ts";
import { trainReference } from "./reference.ts";
import { openStage, type Stage } from "./stage.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly faults: readonly FaultKind[];
  /** So many faults that took effect; left out: until the run is over, or `minutes` are. */
  readonly count?: number;
  readonly minutes?: number;
  readonly workers: number;
  /** Configuration and overrides, as `ringtune coordinator` takes them. */
  readonly args: readonly string[];
  /** Absolute. What the processes print and what the faults did goes beside it. */
  readonly run: string;
  /** Train once more, without faults, and compare. */
  readonly reference: boolean;
  /** Weights that differ from those of the reference are an error. */
  readonly identical: boolean;
  readonly signal: AbortSignal;
  readonly onFault?: (done: Fault, progress: Progress) => void;
}

export interface Fault {
  readonly planned: PlannedFault;
  readonly outcome: Outcome;
}

export interface Progress {
  readonly fired: number;
  readonly wanted: number | undefined;
  readonly step: number;
  readonly seconds: number;
}

export interface ChaosResult extends Verdict {
  readonly run: string;
  readonly seed: number;
  readonly seconds: number;
  readonly faults: readonly Fault[];
  /** Worker processes started, and of those ended by a fault. */
  readonly started: number;
  readonly killed: number;
  readonly generations: number;
}

/** Longest time without a commit before chaos calls it a standstill. */
const PATIENCE_MS = 60_000;
/** How long a worker that has been disturbed may need to be part of the run again, at the end. */
const GATHER_MS = 60_000;
const LOOK_EVERY_MS = 25;

/** Throws what the run itself fails with, a standstill, and the signal's reason. */
export async function chaos(options: ChaosOptions): Promise<ChaosResult> {
  const { run, signal, workers, args } = options;
  const logs = `${run}.chaos`;
  const stage = await openStage({ args, run, logs, workers, signal, patienceMs: PATIENCE_MS });
  const faults: Fault[] = [];
  const begunMs = now();
  let completed: boolean;
  try {
    await stage.cluster.records.when(() => true, stage.over);
    completed = await disturb(options, stage, faults);
    signal.throwIfAborted();
    await endRun(stage, completed);
  } finally {
    await stage.close();
    await writeFile(join(logs, "faults.jsonl"), faults.map((fault) => `${JSON.stringify(fault)}\n`).join(""));
  }
  const seconds = (now() - begunMs) / 1000;
  const reference = options.reference
    ? await trainReference({ args, workers, run: `${run}.reference`, logs, signal, ...stepOf(stage) })
    : undefined;
  const { repeated } = stage.cluster.records;
  const { endedAlone, cluster } = stage;
  const restored = cluster.printed.filter((line) => /; the run goes on from (its beginning|the checkpoint)/.test(line));
  const verdict = await checkRun({ run, repeated, restored, endedAlone, reference, identical: options.identical });
  return {
    ...verdict,
    ...{ run, seed: options.seed, seconds, faults },
    started: stage.cluster.workers.length,
    killed: stage.killed.size,
    generations: stage.cluster.records.last?.generation ?? 0,
  };
}

function stepOf({ cluster }: Stage): { step: number } {
  return { step: cluster.records.last?.step ?? 0 };
}

/** Injects the plan's faults, which may overlap. True when the run came to its end meanwhile. */
async function disturb(options: ChaosOptions, stage: Stage, done: Fault[]): Promise<boolean> {
  const { seed, faults: kinds, count = Infinity, minutes = Infinity, onFault } = options;
  const begunMs = now();
  const deadlineMs = begunMs + minutes * 60_000;
  const underWay = new Set<Promise<void>>();
  let failure: Error | undefined;
  const fired = (): number => done.filter(({ outcome }) => outcome.missed === undefined).length;
  try {
    for (let number = 1; failure === undefined && now() < deadlineMs; number++) {
      while (fired() + underWay.size >= count && underWay.size > 0) await Promise.race(underWay);
      if (fired() >= count) break;
      const planned = planFault(seed, kinds, number);
      const moment = await reach(planned, stage);
      const fault = inject(planned, moment).then(
        (outcome) => {
          done.push({ planned, outcome });
          const seconds = (now() - begunMs) / 1000;
          onFault?.(
            { planned, outcome },
            { fired: fired(), wanted: options.count, seconds, step: stage.cluster.records.last?.step ?? 0 },
          );
        },
        (error: unknown) => (failure ??= error as Error),
      );
      const tracked: Promise<void> = fault.then(() => void underWay.delete(tracked));
      underWay.add(tracked);
    }
  } catch (error) {
    failure ??= error as Error;
  }
  await Promise.all(underWay);
  if (failure === undefined) return false;
  if (!(await hasCompleted(stage))) throw failure;
  if (fired() < (options.count ?? 0)) {
    const both = `after ${fired()} of ${options.count} faults`;
    throw new RingtuneError("usage", `the run was complete ${both}: give it more steps (--set train.steps=N)`);
  }
  return true;
}

/** Waits for the moment that the plan means: steps, milliseconds, and a worker that may be hit while another goes on. */
async function reach(planned: PlannedFault, stage: Stage): Promise<Moment> {
  const { records } = stage.cluster;
  const from = records.last?.step ?? 0;
  await records.when(({ step }) => step >= from + planned.afterSteps, stage.over);
  await delay(planned.afterMs, undefined, { signal: stage.over });
  for (;;) {
    const seen = await stage.targets();
    if (seen.targets.length > 0) return { stage, ...seen };
    await delay(LOOK_EVERY_MS, undefined, { signal: stage.over });
  }
}

async function hasCompleted({ cluster }: Stage): Promise<boolean> {
  return (await Promise.race([cluster.coordinator.exited, delay(1000)]))?.code === 0;
}

/** Lets everybody come back, then stops the run as Ctrl-C does. */
async function endRun(stage: Stage, completed: boolean): Promise<void> {
  stage.calmDown();
  const { cluster } = stage;
  if (!completed) {
    await gather(stage);
    cluster.coordinator.kill("SIGINT");
  }
  const { code, signal } = await cluster.coordinator.exited;
  if (code !== 0 && code !== 130) {
    const last = cluster.printed.filter((line) => !line.startsWith("step ")).slice(-3);
    throw new RingtuneError("worker_lost", `the coordinator ended with ${signal ?? code}: ${last.join(" / ")}`);
  }
}

/** Resolves when every process that is alive takes part, and two more steps are committed. */
async function gather({ cluster, over }: Stage): Promise<void> {
  const deadline = now() + GATHER_MS;
  for (;;) {
    const status = await cluster.status();
    const alive = cluster.workers.filter(({ exit }) => exit === undefined);
    const missing = alive.filter(({ pid }) => !status?.workers.some((seen) => seen.pid === pid && seen.rank >= 0));
    if (missing.length === 0) break;
    if (now() > deadline) {
      const names = missing.map(({ id, pid }) => `${id} (pid ${pid})`).join(", ");
      throw new RingtuneError("timed_out", `${names} did not come back within ${GATHER_MS / 1000} s after the faults`);
    }
    await delay(LOOK_EVERY_MS, undefined, { signal: over });
  }
  const from = cluster.records.last?.step ?? 0;
  await cluster.records.when(({ step }) => step >= from + 2, over);
}
