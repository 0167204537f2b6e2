import { expect, test } from "vitest";
import { digestOfSample } from "../../../common/sample-digest.ts";
import { advance, initialState } from "../../../coordinator/core/coordinator.ts";
import { batchOf, shardsOf, type Job } from "../../../coordinator/core/job.ts";
import { createLedger, lease, leasedRows, settle } from "../../../coordinator/core/ledger.ts";
import type { Effect, Event, State } from "../../../coordinator/core/state.ts";
import { describePositions } from "../../../coordinator/core/votes.ts";
import { frozen } from "../../support/frozen.ts";

const job: Job = {
  id: "job",
  workers: 2,
  globalBatch: 8,
  microbatch: 4,
  totalSamples: 28,
  samplesPerEpoch: 14,
  validationSequences: 0,
  evalEvery: 0,
  checkpointEvery: 0,
  schedule: { schedule: "constant", peak: 0.1, min: 0, warmupSteps: 0, totalSteps: 4 },
  clip: 1,
  skipsOverflow: false,
  heartbeatMs: 1e6,
  joinTimeoutMs: 1000,
  stepTimeoutMs: 5000,
  verifyEvery: 0,
  earlyStopping: null,
  scoring: null,
  start: { kind: "seed", step: 0 },
};

/** Posts events and remembers everything that was decided. */
function drive(overrides: Partial<Job> = {}) {
  const spec = { ...job, ...overrides };
  const state: State = initialState(spec, 0);
  const run = {
    nowMs: 0,
    reason: "",
    post(event: Event): readonly Effect[] {
      const decision = advance(spec, state, event, run.nowMs);
      run.reason = decision.reason;
      // Effects are carried out later: the core may not write to what it has handed out.
      return frozen(decision.effects);
    },
    get state() {
      return state;
    },
    join: (id: string) =>
      run.post({ kind: "joined", worker: { id, host: "node1", pid: 7, ringEndpoint: `tcp://${id}` } }),
    formed: (id: string, extra = {}) => {
      const value = {
        generation: state.generation,
        step: state.committed,
        engine: "e",
        engineWhy: [],
        parameters: 10,
        digest: "d",
        notices: [],
      };
      return run.post({ kind: "said", id, message: { kind: "formed", value: { ...value, ...extra } } });
    },
    reduced: (id: string, extra = {}) => {
      const times = { dataSeconds: 0, computeSeconds: id === "w0" ? 0.2 : 0.3, allReduceSeconds: 0.1 };
      const rows = leasedRows(state.ledger, id, state.committed + 1);
      const sampleDigest = digestOfSample([state.committed, rows]);
      const vote = {
        rows,
        sampleDigest,
        lossSum: 6,
        tokens: 2,
        gradientNorm: 1,
        digest: "g",
        times,
        bytesSent: 40,
        notFiniteRows: [],
      };
      const value = { generation: state.generation, step: state.committed + 1, ...vote, ...extra };
      return run.post({ kind: "said", id, message: { kind: "reduced", value } });
    },
    applied: (id: string, digest = "") => {
      const value = { generation: state.generation, step: state.committed, seconds: 0, digest };
      return run.post({ kind: "said", id, message: { kind: "applied", value } });
    },
  };
  return run;
}

function running(overrides: Partial<Job> = {}) {
  const run = drive(overrides);
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  run.formed("w1");
  return run;
}

const kinds = (effects: readonly Effect[]): string[] => effects.map(({ kind }) => kind);

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
    record: { step: 1, loss: 2.5, tokens: 4, samples: 8, allReduceBytes: 80, busBandwidth: 400, epoch: 8 / 14 },
  });
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

test("a death costs the uncommitted step only: the survivor gets all of its rows, with the weights it holds", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1");
  run.reduced("w0");
  const effects = run.post({ kind: "left", id: "w1", reason: "its connection closed" });
  expect(effects.at(-1)).toMatchObject({ kind: "form", to: "w0", generation: 2, step: 1, source: { kind: "held" } });
  expect(run.reason).toMatch(/lost worker w1 \(rank 1, host node1, pid 7, .*\): its connection closed/);
  const plans = run.formed("w0").filter((effect) => effect.kind === "plan");
  expect(plans[0]).toMatchObject({ step: 2, shard: { start: 8, rows: 8 } });
});

test("ends with the names of all that were lost when nobody is left", () => {
  const run = running();
  run.post({ kind: "left", id: "w0", reason: "killed" });
  const effects = run.post({ kind: "left", id: "w1", reason: "unplugged" });
  const ended = effects.find((effect) => effect.kind === "ended");
  expect(ended).toMatchObject({ outcome: { kind: "failed", code: "worker_lost" } });
  expect(JSON.stringify(ended)).toMatch(/w0.*killed.*w1.*unplugged/);
});

test("does not commit gradients that differ between ranks", () => {
  const run = running();
  run.reduced("w0");
  const effects = run.reduced("w1", { digest: "other" });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "collective_failed", step: 0 } });
  expect(run.reason).toContain("digest other, rank 0 with g");
});

test("does not commit a loss that is not a number, and names the step and the worker", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1", { lossSum: NaN });
  expect(run.reason).toMatch(/step 1 is not committed: worker w1 .*loss NaN over 2 tokens/);
  expect(run.state.phase).toBe("ended");
});

test("blames the rank whose own samples are not finite, although the sum is not finite on any", () => {
  const run = running();
  run.reduced("w0", { gradientNorm: NaN });
  const effects = run.reduced("w1", { lossSum: Infinity, gradientNorm: NaN, notFiniteRows: [1, 3, 99] });
  expect(run.reason).toMatch(
    /^step 1 is not committed: worker w1 \(rank 1, .*\) has loss Infinity over 2 tokens and gradient norm NaN, from samples 5, 7 of the stream; lower train\.learning_rate or look at the data of this step$/,
  );
  const samples = { part: "training", positions: [5, 7] };
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite", step: 0, samples } });
  expect(kinds(effects)).not.toContain("commit");
});

test("says that the model has diverged when no sample of a step is finite, and names few of many", () => {
  const run = running();
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.reduced("w0", { lossSum: NaN, notFiniteRows: [0, 1, 2, 3] });
  const effects = run.reduced("w1", { lossSum: NaN, notFiniteRows: [0, 1, 2, 3] });
  expect(run.reason).toMatch(/step 2 .* and so have all 8 samples of the step: the model has diverged; lower/);
  const positions = [8, 9, 10, 11, 12, 13, 14, 15];
  expect(effects.at(-1)).toMatchObject({ outcome: { samples: { part: "training", positions } } });
  expect(describePositions([3])).toBe("sample 3 of the stream");
  expect(describePositions([...positions, 16, 17])).toBe(
    "samples 8, 9, 10, 11, 12, 13, 14, 15 and 2 more of the stream",
  );
});

test("a job that takes overflows into account commits the step and leaves its update out, if all ranks see the same", () => {
  const run = running({ skipsOverflow: true });
  run.reduced("w0", { gradientNorm: Infinity });
  expect(kinds(run.reduced("w1", { gradientNorm: Infinity }))).toEqual(["commit", "commit", "plan", "plan"]);
  run.applied("w0");
  expect(run.applied("w1")).toMatchObject([{ kind: "record", record: { step: 1, skipped: true } }]);
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  const [effect] = run.applied("w1");
  expect(effect).not.toHaveProperty("record.skipped");
  run.reduced("w0", { gradientNorm: NaN });
  expect(run.reduced("w1", { digest: "other" }).at(-1)).toMatchObject({ outcome: { kind: "failed" } });
  expect(run.state.committed).toBe(2);
});

test.each([
  ["a loss is not finite", { lossSum: NaN }, "gradient norm Infinity, from samples"],
  ["a worker names rows, for which no scale is small enough", {}, "Infinity at the smallest loss scale, from samples"],
])("a job that takes overflows into account stops all the same when %s", (_, vote, sentence) => {
  const run = running({ skipsOverflow: true });
  run.reduced("w0", { gradientNorm: Infinity });
  const effects = run.reduced("w1", { ...vote, gradientNorm: Infinity, notFiniteRows: [0, 1] });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite", step: 0 } });
  expect(run.reason).toContain(sentence);
});

test("does not commit a step without a single target", () => {
  const run = running();
  run.reduced("w0", { lossSum: 0, tokens: 0 });
  run.reduced("w1", { lossSum: 0, tokens: 0 });
  expect(run.reason).toContain("no token to learn from in this step");
  expect(run.state.phase).toBe("ended");
});

test("a validation loss that is not a number ends the run with the step", () => {
  const run = running({ validationSequences: 4 });
  const value = { generation: 1, step: 0, lossSum: NaN, tokens: 3, notFiniteRows: [1], counts: null };
  run.post({ kind: "said", id: "w0", message: { kind: "evaluated", value } });
  const effects = run.post({ kind: "said", id: "w1", message: { kind: "evaluated", value } });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite" } });
  expect(run.reason).toContain("the validation after step 0 has loss NaN over 6 tokens, in 2 of 4 samples");
  expect(effects.at(-1)).toMatchObject({ outcome: { samples: { part: "validation", positions: [1, 3] } } });
});

test("a validation of a task with labels sums the counts of all workers, and has metrics", () => {
  const run = running({ validationSequences: 4, scoring: { classes: ["ham", "spam"], average: 1 } });
  const evaluated = (id: string, truePositives: number[], falsePositives: number[], correct: number) => {
    const counts = { truePositives, falsePositives, falseNegatives: falsePositives.toReversed(), correct, total: 5 };
    const value = { generation: 1, step: 0, lossSum: 1, tokens: 5, notFiniteRows: [], counts };
    return run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  expect(evaluated("w0", [2, 2], [1, 0], 4)).toEqual([]);
  const [effect] = evaluated("w1", [2, 1], [1, 1], 3);
  // spam: 3 found, 1 wrongly, 2 missed.
  expect(effect).toMatchObject({
    kind: "record",
    record: { step: 0, loss: 0.2, metrics: { accuracy: 0.7, precision: 3 / 4, recall: 3 / 5, f1: 2 / 3 } },
  });
});

test("an old checkpoint's news does not bring `latest` back", () => {
  const run = running({ checkpointEvery: 1 });
  const saved = (step: number): readonly Effect[] =>
    run.post({ kind: "said", id: "w0", message: { kind: "saved", value: { step, sizeBytes: 1 } } });
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
  expect(saved(1)).toMatchObject([{ kind: "publish", step: 1 }]);
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
  expect(saved(2)).toMatchObject([{ kind: "publish", step: 2 }]);
  expect(saved(1)).toEqual([]);
  expect(saved(2)).toEqual([]);
});

test("weights that differ after forming are named, and replaced by those of the lowest rank", () => {
  const run = drive();
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  const effects = run.formed("w1", { digest: "x" });
  expect(run.reason).toMatch(
    /^the weights of worker w1 \(.*\) differ after step 0: digest x, 1 of 2 workers have d; generation 1 -> 2/,
  );
  expect(effects).toMatchObject([
    { kind: "form", to: "w0", source: { kind: "peer", root: 0, keeps: true } },
    { kind: "form", to: "w1", source: { kind: "peer", root: 0, keeps: false } },
  ]);
  run.formed("w0");
  expect(kinds(run.formed("w1"))).toContain("plan");
});

test("a worker whose weights never are those of the others is sent away", () => {
  const run = drive();
  run.join("w0");
  run.join("w1");
  for (let i = 0; i < 3; i++) {
    run.formed("w0");
    run.formed("w1", { digest: `x${i}` });
  }
  expect(run.reason).toMatch(/lost worker w1 .*its weights differed 3 times$/);
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0"]);
});

test("a comparison after a step finds the worker that differs from most, and the run goes on from the committed step", () => {
  const run = drive({ workers: 3, verifyEvery: 1 });
  for (const id of ["w0", "w1", "w2"]) run.join(id);
  for (const id of ["w0", "w1", "w2"]) run.formed(id);
  for (const id of ["w0", "w1", "w2"]) run.reduced(id);
  run.applied("w0", "odd");
  run.applied("w1", "right");
  const effects = run.applied("w2", "right");
  expect(run.reason).toMatch(
    /^the weights of worker w0 \(.*differ after step 1: digest odd, 2 of 3 workers have right/,
  );
  expect(effects.filter(({ kind }) => kind === "form")).toMatchObject([
    { to: "w0", step: 1, source: { kind: "peer", root: 1, keeps: false } },
    { to: "w1", step: 1, source: { kind: "peer", root: 1, keeps: true } },
    { to: "w2", step: 1, source: { kind: "peer", root: 1, keeps: true } },
  ]);
});

test("a worker that comes while others train is prepared, and enters when the step is committed", () => {
  const run = running();
  expect(run.join("w2")).toMatchObject([
    { kind: "welcome", to: "w2" },
    { kind: "prepare", to: "w2", localWorldSize: 3, batch: batchOf(job, 1), shard: shardsOf(batchOf(job, 1), 3)[2] },
  ]);
  run.reduced("w0");
  expect(kinds(run.reduced("w1"))).toEqual(["commit", "commit", "plan", "plan"]);
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: {} } });
  run.reduced("w0");
  const effects = run.reduced("w1");
  expect(kinds(effects)).toEqual(["commit", "commit", "form", "form", "form"]);
  expect(effects[4]).toMatchObject({ to: "w2", rank: 2, step: 2, source: { kind: "peer", root: 0, keeps: false } });
  expect(run.reason).toContain("generation 1 -> 2 with 3 workers: worker w2 (host node1) joins");
});

test("a newcomer that does not form its generation in time goes, not those that wait for it", () => {
  const run = running();
  run.join("w2");
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: {} } });
  run.reduced("w0");
  run.reduced("w1");
  run.nowMs = 1000;
  const effects = run.post({ kind: "tick" });
  expect(effects[0]).toMatchObject({ kind: "dismiss", to: "w2", reason: "did not form generation 2 within 1 s" });
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0", "w1"]);
});

test("a worker that drains goes when its step is committed, and has applied it", () => {
  const run = running();
  run.post({ kind: "said", id: "w0", message: { kind: "leaving", value: { reason: "stopped by SIGTERM" } } });
  expect(run.reason).toBe("worker w0 drains (stopped by SIGTERM): it goes when step 1 is committed");
  run.reduced("w0");
  const effects = run.reduced("w1");
  expect(effects.map((effect) => ("to" in effect ? [effect.kind, effect.to] : []))).toEqual([
    ["commit", "w0"],
    ["commit", "w1"],
    ["finish", "w0"],
    ["form", "w1"],
  ]);
  expect(effects[2]).toMatchObject({ reason: "drained after step 1 (stopped by SIGTERM)", drained: true });
});

test("the last worker that drains takes the run with it, saved", () => {
  const run = running();
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.post({ kind: "drain", id: "w0", reason: "asked to drain" });
  run.post({ kind: "drain", id: "w1", reason: "asked to drain" });
  expect(run.reason).toContain("worker w1 drains (asked to drain), and it is the last one");
  for (const id of ["w0", "w1"]) run.applied(id);
  run.formed("w0");
  expect(run.formed("w1")).toMatchObject([{ kind: "save", step: 1 }]);
});

test("scaling starts what is missing, drains the last ones, and refuses what can't be", () => {
  const run = running();
  expect(run.post({ kind: "scale", workers: 4 })).toEqual([{ kind: "launch", count: 2 }]);
  expect(run.post({ kind: "scale", workers: 1 })).toEqual([]);
  expect(run.state.members.map(({ status }) => status)).toEqual(["healthy", "draining"]);
  expect(run.state.wanted).toBe(1);
  const refused = (workers: number): unknown => run.post({ kind: "scale", workers })[0];
  expect(refused(0)).toMatchObject({
    kind: "refuse",
    reason: expect.stringMatching(/^0 workers can't train/) as string,
  });
  expect(refused(9)).toMatchObject({
    kind: "refuse",
    reason: expect.stringMatching(/^9 workers can't share train.global_batch 8/) as string,
  });
  const nobody = run.post({ kind: "drain", id: "w7", reason: "asked to drain" });
  expect(nobody).toEqual([{ kind: "refuse", reason: "there is no worker w7; there are w0, w1" }]);
});

test("says how many workers joined when the join timeout is over", () => {
  const run = drive();
  run.join("w0");
  run.nowMs = 999;
  expect(run.post({ kind: "tick" })).toEqual([]);
  run.nowMs = 1000;
  run.post({ kind: "tick" });
  expect(run.reason).toContain("1 of 2 workers joined within 1 s");
});

test("a step that takes too long costs the worker that others wait for", () => {
  const run = running();
  const waiting = { doing: "reducing step 1", inCollective: true, count: 0 };
  run.post({ kind: "said", id: "w0", message: { kind: "heartbeat", value: waiting } });
  const computing = { doing: "computing step 1", inCollective: false, count: 0 };
  run.post({ kind: "said", id: "w1", message: { kind: "heartbeat", value: computing } });
  run.nowMs = 5000;
  const effects = run.post({ kind: "tick" });
  expect(effects[0]).toMatchObject({ kind: "dismiss", to: "w1", code: "timed_out" });
  expect(run.reason).toMatch(/w1 .*last computing step 1\): did not reduce step 1 within 5 s/);
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0"]);
});

test("a broken ring waits for the news of who was lost, then goes on without it", () => {
  const run = running();
  const value = { generation: 1, step: 1, reason: "rank 1 hung up" };
  expect(run.post({ kind: "said", id: "w0", message: { kind: "interrupted", value } })).toEqual([]);
  const effects = run.post({ kind: "left", id: "w1", reason: "its connection closed" });
  expect(effects).toMatchObject([{ kind: "form", to: "w0", generation: 2 }]);
});

test("a broken ring with nobody lost is tried again by the same members, but not for ever", () => {
  const run = running();
  const breakRing = (): readonly Effect[] => {
    const value = { generation: run.state.generation, step: 1, reason: "a frame of 12 bytes, expected 64" };
    run.post({ kind: "said", id: "w0", message: { kind: "interrupted", value } });
    run.nowMs += 1000;
    const effects = run.post({ kind: "tick" });
    if (run.state.phase === "ended") return effects;
    run.formed("w0");
    run.formed("w1");
    return effects;
  };
  expect(kinds(breakRing())).toEqual(["form", "form"]);
  for (let i = 0; i < 4; i++) breakRing();
  expect(breakRing().at(-1)).toMatchObject({ outcome: { kind: "failed", code: "collective_failed" } });
  expect(run.reason).toMatch(/6 times in a row; worker w0 .*12 bytes, expected 64/);
});

test("a failure that every worker would meet ends the run with its sentence", () => {
  const run = running();
  const value = { code: "checkpoint_invalid", message: "model.safetensors is cut short" };
  const effects = run.post({ kind: "said", id: "w0", message: { kind: "failed", value } });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "checkpoint_invalid" } });
});

test("a stop drops the plans under way, saves what is committed and ends", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  run.applied("w1");
  expect(kinds(run.post({ kind: "stop", reason: "stopped by Ctrl-C" }))).toEqual(["form", "form"]);
  run.formed("w0");
  expect(run.formed("w1")).toMatchObject([{ kind: "save", to: "w0", step: 1, position: 8 }]);
  const saved: Event = { kind: "said", id: "w0", message: { kind: "saved", value: { step: 1, sizeBytes: 9 } } };
  expect(kinds(run.post(saved))).toEqual(["publish", "finish", "finish", "ended"]);
});

test("refuses a worker that would have no sequence to compute", () => {
  const run = running({ globalBatch: 2, totalSamples: 8 });
  expect(run.join("w2")).toMatchObject([{ kind: "dismiss", to: "w2" }]);
  expect(run.reason).toContain("the run has 2 workers and train.global_batch 2: another would have no sequence");
  expect(run.state.members.length).toBe(2);
});

test("the last step takes the samples that are left", () => {
  expect(batchOf(job, 4)).toEqual({ start: 24, rows: 4 });
});

test("shards differ by one row at most and leave none out", () => {
  expect(shardsOf({ start: 10, rows: 7 }, 3)).toEqual([
    { start: 10, rows: 3 },
    { start: 13, rows: 2 },
    { start: 15, rows: 2 },
  ]);
  expect(shardsOf({ start: 0, rows: 1 }, 3).map(({ rows }) => rows)).toEqual([1, 0, 0]);
});

test("a run that has seen enough commits no further step, waits for its checkpoint and is complete", () => {
  const earlyStopping = { metric: "loss" as const, patience: 1, minDelta: 0 };
  const run = running({ validationSequences: 4, evalEvery: 1, earlyStopping });
  const evaluate = (id: string, lossSum: number): readonly Effect[] => {
    const value = {
      generation: run.state.generation,
      step: run.state.committed,
      lossSum,
      tokens: 2,
      notFiniteRows: [],
      counts: null,
    };
    return run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  const finishStep = (loss: number): readonly Effect[] => {
    for (const id of ["w0", "w1"]) run.reduced(id);
    for (const id of ["w0", "w1"]) run.applied(id);
    return [...evaluate("w0", loss), ...evaluate("w1", loss)];
  };
  const saved = (step: number): readonly Effect[] =>
    run.post({ kind: "said", id: "w0", message: { kind: "saved", value: { step, sizeBytes: 1 } } });
  evaluate("w0", 9);
  evaluate("w1", 9);
  expect(kinds(finishStep(4))).toEqual(["record"]);
  expect(saved(1)).toEqual([{ kind: "publish", step: 1, best: 1 }]);
  expect(kinds(finishStep(5))).toEqual(["record"]);
  expect(run.reason).toContain(
    "the validation loss has not become better for 1 validation (best 2.0000, after step 1)",
  );

  expect(run.reduced("w0")).toEqual([]);
  expect(run.reduced("w1")).toEqual([]);
  expect(run.state.committed).toBe(2);
  const effects = saved(2);
  expect(effects[0]).toEqual({ kind: "publish", step: 2, best: 1 });
  expect(kinds(effects.slice(1))).toEqual(["finish", "finish", "ended"]);
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "completed", step: 2, best: 1 } });
});

test("a worker that dies at the end of such a run costs nothing: its checkpoint is written by another", () => {
  const earlyStopping = { metric: "loss" as const, patience: 1, minDelta: 0 };
  const run = running({ validationSequences: 4, evalEvery: 1, earlyStopping });
  const everyone = (message: "evaluate" | "step", loss: number): void => {
    if (message === "step") for (const id of ["w0", "w1"]) run.reduced(id);
    if (message === "step") for (const id of ["w0", "w1"]) run.applied(id);
    const value = {
      generation: run.state.generation,
      step: run.state.committed,
      lossSum: loss,
      tokens: 2,
      notFiniteRows: [],
      counts: null,
    };
    for (const id of ["w0", "w1"]) run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  everyone("evaluate", 9);
  everyone("step", 4);
  run.post({ kind: "said", id: "w0", message: { kind: "saved", value: { step: 1, sizeBytes: 1 } } });
  everyone("step", 5);
  run.post({ kind: "left", id: "w0", reason: "its connection closed" });
  expect(run.formed("w1")).toMatchObject([{ kind: "save", to: "w1", step: 2 }]);
  const effects = run.post({ kind: "said", id: "w1", message: { kind: "saved", value: { step: 2, sizeBytes: 1 } } });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "completed", step: 2, best: 1 } });
});
