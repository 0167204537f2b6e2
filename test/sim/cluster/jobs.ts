// Small jobs of every shape, by seed: few steps, so that thousands of schedules fit, and every number at its edges.

import { createRandom } from "../../../common/random.ts";
import type { Job } from "../../../coordinator/core/job.ts";

export function randomJob(seed: number, overrides: Partial<Job> = {}): Job {
  const random = createRandom(seed, "job");
  const globalBatch = 1 + random.integer(12);
  const steps = 1 + random.integer(8);
  return {
    id: "simulated",
    workers: 1 + random.integer(Math.min(5, globalBatch)),
    globalBatch,
    microbatch: 1 + (seed % 3),
    localSteps: seed % 4 === 3 ? 1 + random.integer(4) : 1,
    bitIdentical: seed % 2 === 0,
    balance: seed % 5 === 0 ? "speed" : "equal",
    sharesDevices: false,
    totalSamples: globalBatch * steps - random.integer(globalBatch),
    samplesPerEpoch: 1 + random.integer(30),
    validationSequences: random.integer(2) * 5,
    evalEvery: random.integer(4),
    checkpointEvery: random.integer(4),
    writers: (["host", "all", "one"] as const)[random.integer(3)]!,
    saveRetryMs: 1e9,
    minWorkers: Infinity,
    schedule: { schedule: "cosine", peak: 1, min: 0, warmupSteps: 1, totalSteps: steps },
    clip: 1,
    skipsOverflow: false,
    heartbeatMs: 1000,
    joinTimeoutMs: 60_000,
    recoverMs: 0,
    stepTimeoutMs: 30_000,
    verifyEvery: random.integer(3),
    earlyStopping: null,
    scoring: null,
    start: { kind: "seed", step: 0 },
    ...overrides,
  };
}
