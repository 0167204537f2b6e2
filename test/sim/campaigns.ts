// What is simulated: for each campaign the schedule of a seed, and what its end must be, worked out without the core.

import { createRandom } from "../../common/random.ts";
import { nextStep, totalSteps, validatesAfter, type Job } from "../../coordinator/core/job.ts";
import type { Result, Schedule } from "./cluster/schedule.ts";
import { validationLoss } from "./cluster/validation-loss.ts";
import { faultNames, type Fault } from "./cluster/faults.ts";
import { randomJob } from "./cluster/jobs.ts";

export interface Campaign {
  /** A plain sentence. */
  readonly claim: string;
  /** Of all schedules. */
  readonly share: number;
  schedule(seed: number): Schedule;
  /** What is wrong with how it ended; undefined when it ended as it must. */
  fault(schedule: Schedule, result: Result): string | undefined;
}

/** Of a coordinator that writes ahead. */
const deaths: readonly Fault[] = ["coordinator dies", "write torn by its death", "store fails", "store is slow"];
const without = (...names: Fault[]): Fault[] => faultNames.filter((name) => !names.includes(name));
const alive = without("flipped bit", "all are cut off", ...deaths);
const network: readonly Fault[] = [
  ...(["connection lost", "cut to the coordinator", "cut from the coordinator", "cut both ways"] as const),
  ...(["cut between workers", "partition", "death", "join"] as const),
];

/** So many of these, so far apart. */
function faultsOf(seed: number, kinds: readonly Fault[], most: number): Schedule["faults"] {
  const random = createRandom(seed, "faults");
  return { kinds, count: random.integer(most + 1), everyMs: 10 + random.integer(300) };
}

export const campaigns: Readonly<Record<string, Campaign>> = {
  faults: {
    claim: "any faults at any moments lose nothing, restart nobody and never stop a run that one worker survives",
    share: 0.23,
    schedule: (seed) => ({ seed, job: randomJob(seed), faults: faultsOf(seed, alive, 20) }),
    fault: ({ job }, result) => unfinished(job, result, totalSteps(job)),
  },
  crashes: {
    claim:
      "a coordinator that dies at any moment, with anything else that happens, goes on where it was with who comes back",
    share: 0.28,
    schedule: (seed) => {
      const kinds = [...deaths, ...deaths, ...without("flipped bit", "all are cut off")];
      return { seed, job: randomJob(seed, { recoverMs: 60_000 }), faults: faultsOf(seed, kinds, 16) };
    },
    fault: ({ job }, result) => unfinished(job, result, totalSteps(job)),
  },
  forsaken: {
    claim:
      "a run to which nobody comes back in time goes on from its newest checkpoint, whoever comes back later and whatever it holds",
    share: 0.07,
    schedule: (seed) => {
      const cut: Fault = "all are cut off";
      const kinds: Fault[] = [cut, cut, cut, "coordinator dies", "pause", "connection lost", "join"];
      const job = randomJob(seed, { recoverMs: 3000, checkpointEvery: seed % 3 });
      return { seed, job, faults: faultsOf(seed, kinds, 6) };
    },
    fault: ({ job }, result) => unfinished(job, result, totalSteps(job)),
  },
  network: {
    claim: "partitions, lost connections and ways that lead in one direction only cost time, and workers at most",
    share: 0.15,
    schedule: (seed) => {
      const job = randomJob(seed, { workers: 4, globalBatch: 8, totalSamples: 48 });
      return { seed, job, faults: faultsOf(seed, network, 12) };
    },
    fault: ({ job }, result) => unfinished(job, result, totalSteps(job)),
  },
  stop: {
    claim: "a run that is asked to stop at any moment leaves exactly its committed steps, all saved",
    share: 0.09,
    schedule: (seed) => ({
      ...{ seed, job: randomJob(seed), faults: faultsOf(seed, alive, 8) },
      stopAfterMs: (seed * 7) % 1500,
    }),
    fault: ({ job }, result) => {
      if (result.outcome.kind === "stopped") return unsaved(job, result, result.outcome.step);
      return unfinished(job, result, totalSteps(job));
    },
  },
  bits: {
    claim: "a worker whose weights have changed is named at the next comparison and gets those of another",
    share: 0.09,
    schedule: (seed) => {
      const job = randomJob(seed, { workers: 3, globalBatch: 6, totalSamples: 36, verifyEvery: 1 });
      const kinds: Fault[] = ["flipped bit", "join", "message twice", "clock jumps", "coordinator stands still"];
      return { seed, job, faults: faultsOf(seed, kinds, 12) };
    },
    fault: ({ job }, result) => {
      if (result.flawed.length > 0) return `${result.flawed.join(", ")} still differ`;
      const named = result.reasons.filter((reason) =>
        /the weights of worker w\d+ .* differ after step \d/.test(reason),
      );
      const fired = result.fired["flipped bit"];
      if (named.length < fired) return `${fired} bits were flipped, and ${named.length} were named`;
      return unfinished(job, result, totalSteps(job));
    },
  },
  early: {
    claim: "a run that stops early does so at the same step under every schedule, and keeps its best weights",
    share: 0.11,
    schedule: (seed) => {
      const random = createRandom(seed, "stopping");
      const earlyStopping = { metric: "loss", patience: 1 + random.integer(3), minDelta: random.integer(2) } as const;
      const job = randomJob(seed, { validationSequences: 5, evalEvery: 1 + random.integer(2), earlyStopping });
      const kinds: Fault[] = ["death", "death unseen", "join", "connection lost", "coordinator stands still", "pause"];
      kinds.push("disk full");
      return { seed, job, faults: faultsOf(seed, kinds, 6) };
    },
    fault: ({ job, seed }, result) => {
      const { last, best } = whereItStops(job, seed);
      if (result.best !== best) return `the best step is ${best}, not ${result.best}`;
      const isEarly = result.outcome.kind === "completed" && result.outcome.early !== undefined;
      if (isEarly !== last < totalSteps(job)) return `it stops ${isEarly ? "early" : "late"} at ${last}`;
      return unfinished(job, result, last);
    },
  },
};

function unfinished(job: Job, result: Result, last: number): string | undefined {
  const { outcome } = result;
  if (outcome.kind !== "completed") return `it is ${outcome.kind}: ${outcome.reason}`;
  if (outcome.step !== last) return `it is completed at step ${outcome.step}, not ${last}`;
  return unsaved(job, result, last);
}

function unsaved(job: Job, { steps, published, validations }: Result, last: number): string | undefined {
  let expected = 0;
  for (let step = job.start.step; step < last; step = nextStep(job, step)) expected += 1;
  if (steps.length !== expected) return `${steps.length} steps are recorded, not ${expected}`;
  if (expected > 0 && published.at(-1) !== last)
    return `the last checkpoint is of step ${published.at(-1)}, not ${last}`;
  if (new Set(validations).size !== validations.length) return `validations ${validations.join()} are recorded`;
  return undefined;
}

/** From the losses alone. */
function whereItStops(job: Job, seed: number): { last: number; best: number } {
  const { patience, minDelta } = job.earlyStopping!;
  const total = totalSteps(job);
  let best = { step: 0, loss: Infinity };
  let [reference, since, last] = [Infinity, 0, total];
  for (let step = job.start.step; step < total;) {
    step = nextStep(job, step);
    if (!validatesAfter(job, step)) continue;
    const loss = validationLoss(seed, step);
    if (loss < best.loss) best = { step, loss };
    if (reference - loss > minDelta) [reference, since] = [loss, 0];
    else since += 1;
    if (since < patience) continue;
    last = step;
    break;
  }
  return { last, best: best.step };
}
