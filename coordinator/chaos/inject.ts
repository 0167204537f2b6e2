// What a planned fault does to real processes, and how it is known that it happened: a fault that did not take effect is no
// fault. Every function here hits one target, waits until the cluster is over it, and says how long that took.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { platform } from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { assertNever } from "../../common/errors.ts";
import type { StepRecord } from "../../common/records.ts";
import { now } from "../rpc/driver.ts";
import type { Process } from "./cluster.ts";
import { breakFolder } from "./broken-folder.ts";
import type { PlannedFault } from "./plan.ts";
import type { Stage, Target } from "./stage.ts";

export interface Outcome {
  /** What was hit: "w3", "coordinator". */
  readonly target: string;
  /** What that was doing at the time, in the coordinator's words: "computing step 12". */
  readonly found: string;
  /** Why the fault did not take effect; left out when it did. */
  readonly missed?: string;
  /** From the fault to the next committed step; left out where nothing has to recover. */
  readonly recoveredMs?: number;
  /** It was given up although it was silent for less than the limit. */
  readonly falseAlarm?: boolean;
  /** Of `recoveredMs`, the step that was computed anew, up to its commit. */
  readonly redoneMs?: number;
}

/** What is known when the time for a fault has come. */
export interface Moment {
  readonly stage: Stage;
  readonly targets: readonly Target[];
  readonly generation: number;
}

/** A worker that is stopped or cut off is left so for as long again, at most, after it was given up. */
const AFTERWARDS_MS = 1000;
const SLOW_MS = 1500;
const SLICE_MS = 40;
const DISK_MS = 3000;
/** What the coordinator says of a checkpoint that the disk did not take. */
const notSaved = /; training goes on, and the next is due|; trying again for \d+ s/;
const COORDINATOR_GONE_MS = 500;
/** Nobody who is silent is waited for longer. */
const LONGEST_SILENCE_MS = 60_000;
const notGivenUp = { missed: `it was not given up within ${LONGEST_SILENCE_MS / 1000} s` };

/** Rejects with the reason of `stage.over` when the run ends before the fault is over. */
export async function inject(fault: PlannedFault, moment: Moment): Promise<Outcome> {
  const { stage, targets } = moment;
  if (fault.kind === "coordinator") return stage.alone(() => hitCoordinator(fault, stage));
  if (fault.kind === "disk") return stage.alone(() => hitDisk(fault, stage));
  const target = targets[Math.floor(fault.whom * targets.length)]!;
  stage.hold(target.process);
  try {
    const outcome = await hitWorker(fault, target, moment);
    return { target: target.process.id, found: target.seen.doing, ...outcome };
  } finally {
    stage.release(target.process);
  }
}

type OnWorker = Omit<Outcome, "target" | "found">;

type WorkerFault = Exclude<PlannedFault, { kind: "coordinator" | "disk" }>;

async function hitWorker(fault: WorkerFault, target: Target, moment: Moment): Promise<OnWorker> {
  const { stage } = moment;
  const { process, proxy, seen } = target;
  const limitMs = seen.limitSeconds * 1000;
  const atMs = now();
  switch (fault.way) {
    case "SIGKILL":
      if (!(await stage.kill(process))) return { missed: "it had ended by itself" };
      return formedAnew(moment, atMs);
    case "past the limit": {
      const lost = givenUp(stage, process);
      if (!(await stop(process))) return { missed: "it could not be stopped" };
      const isGivenUp = await lost;
      await delay(fault.howLong * AFTERWARDS_MS);
      process.kill("SIGCONT");
      return isGivenUp ? formedAnew(moment, atMs) : notGivenUp;
    }
    case "briefly": {
      const before = stage.cluster.printed.length;
      if (!(await stop(process))) return { missed: "it could not be stopped" };
      await delay((fault.howLong * limitMs) / 2);
      process.kill("SIGCONT");
      const outcome = await goesOn(stage, atMs, now());
      return { ...outcome, falseAlarm: hasSaid(stage, lossOf(process), before) };
    }
    case "reset":
      if (proxy.reset() === 0) return { missed: "it had no connection" };
      return formedAnew(moment, atMs);
    case "silent":
    case "silent upwards": {
      const before = proxy.disturbed;
      const lost = givenUp(stage, process);
      proxy.hold(fault.way === "silent" ? ["up", "down"] : ["up"]);
      const isGivenUp = await lost;
      await delay(fault.howLong * AFTERWARDS_MS);
      proxy.hold([]);
      if (!isGivenUp) return notGivenUp;
      if (proxy.disturbed === before) return { missed: "it said nothing" };
      return formedAnew(moment, atMs);
    }
    case "silent downwards": {
      const before = proxy.disturbed;
      proxy.hold(["down"]);
      await delay((0.2 + fault.howLong) * limitMs);
      proxy.hold([]);
      if (proxy.disturbed === before) return { missed: "nothing was said to it" };
      return goesOn(stage, atMs, now());
    }
    case "for good": {
      proxy.refuse(true);
      stage.expectEnd(process);
      if (proxy.reset() === 0) return { missed: "it had no connection" };
      const outcome = await formedAnew(moment, atMs);
      await delay(fault.howLong * AFTERWARDS_MS);
      await stage.kill(process);
      return outcome;
    }
    case "delayed messages": {
      const before = proxy.disturbed;
      proxy.delay(5 + fault.howLong * 95);
      await delay(SLOW_MS);
      proxy.delay(0);
      if (proxy.disturbed === before) return { missed: "nothing was said meanwhile" };
      return goesOn(stage, atMs);
    }
    case "stop and go": {
      for (let slice = 0; slice < SLOW_MS / SLICE_MS / 2; slice++) {
        if (!(await stop(process))) return { missed: "it could not be stopped" };
        await delay(SLICE_MS);
        process.kill("SIGCONT");
        await delay(SLICE_MS);
      }
      return goesOn(stage, atMs);
    }
    default:
      return assertNever(fault);
  }
}

/** The workers keep what they hold and come back; none of them is restarted. */
async function hitCoordinator({ howLong }: PlannedFault, stage: Stage): Promise<Outcome> {
  const about = { target: "coordinator", found: foundAt(stage) };
  const atMs = now();
  if (!(await stage.replaceCoordinator(howLong * COORDINATOR_GONE_MS))) {
    return { ...about, missed: "it had ended by itself" };
  }
  return { ...about, ...(await goesOn(stage, atMs, now())) };
}

/** Training goes on; the checkpoint that could not be written is written later. */
async function hitDisk({ way, howLong }: PlannedFault, stage: Stage): Promise<Outcome> {
  const about = { target: "checkpoints", found: foundAt(stage) };
  const before = stage.cluster.printed.length;
  const noticed = stage.cluster.said(notSaved, stage.over);
  noticed.catch(() => undefined);
  const atMs = now();
  const heal = await breakFolder(join(stage.cluster.run, "checkpoints"), way === "full");
  if (heal === undefined) return { ...about, missed: "this user can't break the folder, or it is broken already" };
  try {
    await Promise.race([noticed, delay((1 + howLong) * DISK_MS)]);
  } finally {
    await heal();
  }
  if (!hasSaid(stage, notSaved, before)) return { ...about, missed: "no checkpoint was written meanwhile" };
  return { ...about, ...(await goesOn(stage, atMs, now())) };
}

function foundAt({ cluster }: Stage): string {
  return `step ${cluster.records.last?.step ?? 0} was committed`;
}

/** The next commit is that of a new generation. */
async function formedAnew({ stage, generation }: Moment, atMs: number): Promise<OnWorker> {
  const again = (record: StepRecord): boolean => record.generation > generation;
  const { timeMs, seconds } = await stage.cluster.records.when(again, stage.over);
  return { recoveredMs: timeMs - atMs, redoneMs: (seconds.total - seconds.commit) * 1000 };
}

/** The next commit after `afterMs`, whatever the generation. */
async function goesOn(stage: Stage, atMs: number, afterMs = atMs): Promise<OnWorker> {
  const record = await stage.cluster.records.when(({ timeMs }) => timeMs > afterMs, stage.over);
  return { recoveredMs: record.timeMs - atMs };
}

/** Resolves with whether the coordinator gave it up: one that was killed meanwhile may never have known of it. */
function givenUp({ cluster, over }: Stage, process: Process): Promise<boolean> {
  const patience = AbortSignal.timeout(LONGEST_SILENCE_MS);
  const lost = cluster.said(lossOf(process), AbortSignal.any([over, patience])).then(
    () => true,
    (error: unknown) => {
      if (!over.aborted) return false;
      throw error;
    },
  );
  lost.catch(() => undefined);
  return lost;
}

/** Alone or with others, or found missing by a coordinator that was started again. */
function lossOf({ id }: Process): RegExp {
  return new RegExp(`lost (worker .*; )?worker ${id} \\(|going on without (.*, )?${id}\\b`);
}

/** In a line of the coordinator since there were `before` lines. */
function hasSaid({ cluster }: Stage, pattern: RegExp, before: number): boolean {
  return cluster.printed.slice(before).some((line) => pattern.test(line));
}

/** SIGSTOP; whether the process has really stopped. */
async function stop(process: Process): Promise<boolean> {
  if (!process.kill("SIGSTOP")) return false;
  for (let looks = 0; looks < 200; looks++) {
    const stat = await readFile(`/proc/${process.pid}/stat`, "utf8").catch(() => "");
    // The second field is a name in brackets, which may hold anything.
    const state = stat[stat.lastIndexOf(")") + 2];
    if (state === "T") return true;
    if (state === undefined || state === "Z") return platform !== "linux" && process.exit === undefined;
    await delay(1);
  }
  return false;
}
