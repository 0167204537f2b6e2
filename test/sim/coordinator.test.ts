import { expect, test } from "vitest";
import { createRandom } from "../../common/random.ts";
import type { Job } from "../../coordinator/core/job.ts";
import { totalSteps } from "../../coordinator/core/job.ts";
import { simulate, validationLoss } from "../support/simulated-cluster.ts";

const SCHEDULES = Number(process.env["RINGTUNE_SIM_SCHEDULES"] ?? 3000);

function randomJob(seed: number): Job {
  const random = createRandom(seed, "job");
  const globalBatch = 1 + random.integer(12);
  const steps = 1 + random.integer(8);
  return {
    id: "simulated",
    workers: 1 + random.integer(Math.min(5, globalBatch)),
    globalBatch,
    microbatch: 1 + (seed % 3),
    totalSamples: globalBatch * steps - random.integer(globalBatch),
    samplesPerEpoch: 1 + random.integer(30),
    validationSequences: random.integer(2) * 5,
    evalEvery: random.integer(4),
    checkpointEvery: random.integer(4),
    writers: (["host", "all", "one"] as const)[random.integer(3)]!,
    saveRetryMs: 1e9,
    schedule: { schedule: "cosine", peak: 1, min: 0, warmupSteps: 1, totalSteps: steps },
    clip: 1,
    skipsOverflow: false,
    heartbeatMs: 1e9,
    joinTimeoutMs: 1e9,
    recoverMs: 0,
    stepTimeoutMs: 1e9,
    bitIdentical: seed % 2 === 0,
    balance: "equal",
    verifyEvery: 0,
    earlyStopping: null,
    scoring: null,
    start: { kind: "seed", step: 0 },
  };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test("every schedule of deaths commits every step once and in order, and saves the last", () => {
  const states = new Set<string>();
  let deaths = 0;
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    const job = randomJob(seed);
    const result = simulate({ seed, job, deathRate: (seed % 4) * 0.01 });
    const total = totalSteps(job);
    expect(result.outcome, `seed ${seed}`).toEqual({ kind: "completed", step: total });
    expect(result.steps, `seed ${seed}`).toEqual(range(1, total));
    expect(result.published.at(-1), `seed ${seed}`).toBe(total);
    expect(new Set(result.validations).size, `seed ${seed}`).toBe(result.validations.length);
    result.states.forEach((state) => states.add(state));
    deaths += result.deaths;
  }
  console.log(`${SCHEDULES} schedules, ${deaths} deaths, ${states.size} distinct states`);
  expect(deaths).toBeGreaterThan(SCHEDULES / 20);
});

test("a run that is asked to stop at any moment leaves exactly its committed steps, all saved", () => {
  let stopped = 0;
  for (let seed = 1; seed <= SCHEDULES / 3; seed++) {
    const job = randomJob(seed);
    const stopAfter = 1 + (seed % 120);
    const result = simulate({ seed, job, deathRate: (seed % 3) * 0.01, stopAfter });
    expect(result.outcome.kind, `seed ${seed}`).not.toBe("failed");
    expect(result.steps, `seed ${seed}`).toEqual(range(1, result.outcome.step));
    if (result.outcome.step > 0) expect(result.published.at(-1), `seed ${seed}`).toBe(result.outcome.step);
    if (result.outcome.kind === "stopped") stopped += 1;
  }
  console.log(`${stopped} runs stopped in the middle`);
  expect(stopped).toBeGreaterThan(SCHEDULES / 10);
});

test("workers that join, drain, die, fall silent or are scaled away at any moment lose nothing and restart nobody", () => {
  const states = new Set<string>();
  const fired: Record<string, number> = {};
  const kinds = ["death", "death-seen-late", "join", "drain", "leave", "scale", "silence", "disk"] as const;
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    const job: Job = { ...randomJob(seed), heartbeatMs: 1e4, verifyEvery: seed % 3 };
    const result = simulate({ seed, job, deathRate: 0, faults: { rate: 0.01 + (seed % 5) * 0.02, kinds } });
    expect(result.outcome.kind, `seed ${seed}`).not.toBe("failed");
    const { step } = result.outcome;
    if (result.outcome.kind === "completed") expect(step, `seed ${seed}`).toBe(totalSteps(job));
    expect(result.steps, `seed ${seed}`).toEqual(range(1, step));
    if (step > 0) expect(result.published.at(-1), `seed ${seed}`).toBe(step);
    expect(new Set(result.validations).size, `seed ${seed}`).toBe(result.validations.length);
    for (const [fault, count] of Object.entries(result.fired)) fired[fault] = (fired[fault] ?? 0) + count;
    result.states.forEach((state) => states.add(state));
  }
  console.log(`${SCHEDULES} schedules, ${states.size} distinct states, fired ${JSON.stringify(fired)}`);
  for (const kind of kinds) expect(fired[kind], kind).toBeGreaterThan(SCHEDULES / 20);
});

test("a worker whose weights have changed is named at the next comparison and gets those of another", () => {
  let healed = 0;
  for (let seed = 1; seed <= SCHEDULES / 3; seed++) {
    const job: Job = { ...randomJob(seed), globalBatch: 6, workers: 3, totalSamples: 36, verifyEvery: 1 };
    const result = simulate({ seed, job, deathRate: 0, faults: { rate: 0.03, kinds: ["corruption", "join"] } });
    expect(result.outcome, `seed ${seed}`).toMatchObject({ kind: "completed", step: 6 });
    expect(result.corrupt, `seed ${seed}\n${result.reasons.join("\n")}`).toEqual([]);
    const named = result.reasons.filter((reason) => /the weights of worker w\d+ .* differ after step \d/.test(reason));
    expect(named.length, `seed ${seed}\n${result.reasons.join("\n")}`).toBeGreaterThanOrEqual(result.fired.corruption);
    healed += named.length;
  }
  expect(healed).toBeGreaterThan(SCHEDULES / 20);
});

test("the same seed gives the same schedule", () => {
  const run = (): unknown => ({ ...simulate({ seed: 7, job: randomJob(7), deathRate: 0.02 }) });
  expect(run()).toEqual(run());
});

test("a run that stops early does so at the same step under every schedule of deaths, and keeps its best weights", () => {
  let early = 0;
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    const random = createRandom(seed, "stopping");
    const rule = { metric: "loss" as const, patience: 1 + random.integer(3), minDelta: random.integer(2) };
    const given = randomJob(seed);
    const job = { ...given, validationSequences: 5, evalEvery: 1 + random.integer(2), earlyStopping: rule };
    const faults = { rate: 0.02, kinds: ["disk"] as const };
    const result = simulate({ seed, job, deathRate: (seed % 4) * 0.01, faults });

    // Worked out from the losses alone.
    const total = totalSteps(job);
    const validated = range(1, total).filter((step) => step === total || step % job.evalEvery === 0);
    let [reference, since, last] = [Infinity, 0, total];
    for (const step of validated) {
      const loss = validationLoss(seed, step);
      if (reference - loss > rule.minDelta) [reference, since] = [loss, 0];
      else since += 1;
      if (since < rule.patience) continue;
      last = step;
      break;
    }
    const losses = validated.filter((step) => step <= last).map((step) => ({ step, loss: validationLoss(seed, step) }));
    const best = losses.reduce((a, b) => (b.loss < a.loss ? b : a)).step;

    expect(result.outcome, `seed ${seed}`).toMatchObject({ kind: "completed", step: last, best });
    expect("early" in result.outcome, `seed ${seed}`).toBe(last < total);
    expect(result.steps, `seed ${seed}`).toEqual(range(1, last));
    expect(result.published.at(-1), `seed ${seed}`).toBe(last);
    expect(result.best, `seed ${seed}`).toBe(best);
    if (last < total) early += 1;
  }
  expect(early).toBeGreaterThan(SCHEDULES / 5);
});
