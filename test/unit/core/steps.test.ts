import { expect, test } from "vitest";
import { batchOf } from "../../../coordinator/core/job.ts";
import { createLedger, lease, settle } from "../../../coordinator/core/ledger.ts";
import { drive, job, kinds, running } from "../../support/core-drive.ts";

test("waits for all workers, then forms the first generation in the order of joining", () => {
  const run = drive();
  expect(kinds(run.join("a"))).toEqual(["welcome"]);
  const effects = run.join("b");
  expect(kinds(effects)).toEqual(["welcome", "form", "form"]);
  expect(effects[1]).toMatchObject({ to: "a", rank: 0, generation: 1, source: { kind: "seed" } });
  expect(effects[2]).toMatchObject({ to: "b", rank: 1 });
  expect(run.reason).toContain("generation 0 -> 1 with 2 workers");
});

test("plans one step ahead and gives each worker its own rows", () => {
  const run = drive();
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  const plans = run.formed("w1").filter((effect) => effect.kind === "plan");
  expect(plans.map(({ to, step, shard }) => [to, step, shard.start, shard.rows])).toEqual([
    ["w0", 1, 0, 4],
    ["w1", 1, 4, 4],
    ["w0", 2, 8, 4],
    ["w1", 2, 12, 4],
  ]);
});

test("commits only when every worker has reduced the step", () => {
  const run = running();
  expect(run.reduced("w0")).toEqual([]);
  const effects = run.reduced("w1");
  expect(kinds(effects)).toEqual(["commit", "commit", "plan", "plan"]);
  expect(run.state.committed).toBe(1);
});

test("a worker that has reduced other rows than those leased to it goes, and its rows are leased anew", () => {
  const run = running();
  run.reduced("w0");
  const effects = run.reduced("w1", { rows: 3 });
  expect(effects[0]).toMatchObject({ kind: "dismiss", to: "w1", code: "protocol_mismatch" });
  expect(run.reason).toMatch(/lost worker w1 .*: it has reduced 3 rows of step 1, and 4 were leased to it$/);
  run.formed("w0");
  run.reduced("w0");
  // Of 16 rows that were leased for two steps, all were given back, and leased again.
  expect(run.state.ledger.counts).toMatchObject({ leased: 40, committed: 8, requeued: 16, duplicated: 0, lost: 0 });
});

test("a step that would count samples twice, or leave some out, is not committed", () => {
  const leases = [
    { worker: "a", step: 1, start: 0, rows: 5 },
    { worker: "b", step: 1, start: 4, rows: 2 },
  ];
  const ledger = createLedger(0);
  for (const { worker, step: number, ...range } of leases) lease(ledger, worker, number, range);
  settle(ledger, 1, { start: 0, rows: 8 }, []);
  expect(ledger.counts).toMatchObject({ leased: 7, committed: 7, duplicated: 1, lost: 2 });
});

test("does not count a worker's vote twice", () => {
  const run = running();
  run.reduced("w0");
  expect(run.reduced("w0")).toEqual([]);
  expect(run.state.committed).toBe(0);
});

test("records the loss weighted by tokens, and the times of the slowest worker", () => {
  const run = running();
  run.reduced("w0", { lossSum: 9, tokens: 3 });
  run.reduced("w1", { lossSum: 1, tokens: 1 });
  run.nowMs = 500;
  run.applied("w0");
  const [effect] = run.applied("w1");
  expect(effect).toMatchObject({
    kind: "record",
    record: { step: 1, loss: 2.5, tokens: 4, samples: 8, busBandwidth: 400, epoch: 8 / 14 },
  });
  expect(effect).toMatchObject({ record: { allReduceBytes: 80, bytesBetweenHosts: 30 } });
  expect(effect).toMatchObject({ record: { seconds: { compute: 0.3, allReduce: 0.1, commit: 0.5 } } });
});

test("a vote of an older generation is not counted", () => {
  const run = running({ workers: 2 });
  run.reduced("w0");
  run.post({ kind: "left", id: "w1", reason: "its connection closed" });
  run.formed("w0");
  expect(run.reduced("w0", { generation: 1 })).toEqual([]);
  expect(run.state.committed).toBe(0);
  expect(kinds(run.reduced("w0"))).toContain("commit");
});

test("the last step takes the samples that are left", () => {
  expect(batchOf(job, 4)).toEqual({ start: 24, rows: 4 });
});

test("takes local steps in rounds, and what is due within one comes when it ends", () => {
  const rounds = { localSteps: 3, evalEvery: 2, validationSequences: 4, verifyEvery: 4 };
  const run = drive(rounds);
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  const effects = run.formed("w1");
  const plans = effects.filter((effect) => effect.kind === "plan");
  expect(plans.map(({ to, step, batch, shard }) => [to, step, batch.rows, shard.start])).toEqual([
    ["w0", 3, 24, 0],
    ["w1", 3, 24, 12],
    ["w0", 4, 4, 24],
    ["w1", 4, 4, 26],
  ]);
  expect(plans.map(({ learningRates }) => learningRates.length)).toEqual([3, 3, 1, 1]);
  expect(plans.map(({ verify }) => verify)).toEqual([false, false, true, true]);
  const validated = effects.filter((effect) => effect.kind === "evaluate" && effect.to === "w0");
  expect(validated.map((effect) => effect.kind === "evaluate" && effect.step)).toEqual([0, 3, 4]);
});

test("commits a round of local steps as one, and counts its samples and steps", () => {
  const run = running({ localSteps: 3 });
  run.reduced("w0");
  expect(kinds(run.reduced("w1"))).toContain("commit");
  expect(run.state.committed).toBe(3);
  run.applied("w0");
  const [effect] = run.applied("w1");
  const record = { step: 3, steps: 3, samples: 24, ledger: { committed: 24 } };
  expect(effect).toMatchObject({ kind: "record", record });
  expect(run.state.ledger.position).toBe(24);
});
