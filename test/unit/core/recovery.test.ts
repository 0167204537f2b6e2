import { expect, test } from "vitest";
import { changesOf, factsOf, isOver, recover } from "../../../coordinator/core/durable.ts";
import type { Effect } from "../../../coordinator/core/state.ts";
import { besidesPlans, drive, job, kinds, running } from "../../support/core-drive.ts";

const recovers = { recoverMs: 60_000 };

/** Two workers, one step committed and applied by both. */
function afterOneStep() {
  const run = running(recovers);
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
  return run;
}

const forms = (effects: readonly Effect[]) => effects.filter((effect) => effect.kind === "form");

test("workers that hold the committed step go on when all are back, in their old ranks and a new generation", () => {
  const run = afterOneStep();
  run.restart();
  expect(run.state).toMatchObject({ phase: "recovering", committed: 1, generation: 1, members: [] });
  expect(kinds(run.comeBack("w1"))).toEqual(["welcome"]);
  const effects = run.comeBack("w0");
  expect(kinds(effects)).toEqual(["welcome", "form", "form", "save", "plan", "plan", "plan", "plan"]);
  expect(forms(effects)).toMatchObject([
    { to: "w0", rank: 0, generation: 2, step: 1, source: { kind: "held" } },
    { to: "w1", rank: 1, generation: 2, step: 1, source: { kind: "held" } },
  ]);
  const plans = effects.filter((effect) => effect.kind === "plan");
  expect(plans[0]).toMatchObject({ step: 2, shard: { start: 8, rows: 4 } });
  expect(run.state.losses).toEqual([]);
});

test("the rows that were leased when the coordinator died are leased again, and counted as given back", () => {
  const run = afterOneStep();
  run.restart();
  run.comeBack("w0");
  run.comeBack("w1");
  run.formed("w0");
  run.formed("w1");
  for (const id of ["w0", "w1"]) run.reduced(id);
  const { leased, committed, requeued, duplicated, lost } = run.state.ledger.counts;
  const outstanding = run.state.ledger.leases.reduce((rows, each) => rows + each.rows, 0);
  expect({ committed, requeued, duplicated, lost }).toEqual({ committed: 16, requeued: 16, duplicated: 0, lost: 0 });
  expect(leased).toBe(committed + requeued + outstanding);
});

test("a worker that had not heard of the commit is told again, applies it, and the step is recorded once", () => {
  const run = running(recovers);
  run.reduced("w0");
  run.reduced("w1");
  run.restart();
  const reduced = { generation: 1, step: 1, digest: "g" };
  expect(run.comeBack("w0", { step: 0, reduced })).toEqual([
    { kind: "welcome", to: "w0" },
    { kind: "commit", to: "w0", generation: 1, step: 1 },
  ]);
  // The other has applied it before the coordinator died, which nobody had heard.
  expect(kinds(besidesPlans(run.comeBack("w1")))).toEqual(["welcome", "form", "form", "save"]);
  const [record] = run.applied("w0");
  expect(record).toMatchObject({ kind: "record", record: { step: 1, loss: 3, tokens: 4, worldSize: 2 } });
  expect(run.applied("w0")).toEqual([]);
});

test.each([
  ["another digest", { generation: 1, step: 1, digest: "other" }],
  ["another generation", { generation: 0, step: 1, digest: "g" }],
  ["nothing", null],
])("a worker that is a step behind and has reduced %s gets the weights of one that has them", (_, reduced) => {
  const run = running(recovers);
  run.reduced("w0");
  run.reduced("w1");
  run.restart();
  expect(kinds(run.comeBack("w0", { step: 0, reduced }))).toEqual(["welcome"]);
  expect(forms(run.comeBack("w1"))).toMatchObject([
    { to: "w0", step: 1, source: { kind: "peer", root: 1, receivers: [0] } },
    { to: "w1", step: 1, source: { kind: "peer", root: 1, receivers: [0] } },
  ]);
});

test("a worker with more steps than are committed, or of a later generation, is refused with both numbers", () => {
  const run = afterOneStep();
  run.restart();
  const [refused] = run.comeBack("w0", { step: 2 });
  expect(refused).toMatchObject({
    kind: "dismiss",
    to: "w0",
    code: "protocol_mismatch",
    reason: "its weights contain 2 steps, and 1 are committed: it is of another history of this run",
  });
  expect(run.comeBack("w0", { generation: 5 })[0]).toMatchObject({
    kind: "dismiss",
    reason: "it took part in generation 5, and the run is in generation 1: it is of another history of this run",
  });
  expect(run.state.phase).toBe("recovering");
});

test("who is not back soon after another is not waited for, and enters later as a newcomer whose engine is there", () => {
  const run = afterOneStep();
  run.restart();
  run.comeBack("w1");
  run.nowMs = 9_999;
  expect(run.tick()).toEqual([]);
  run.nowMs = 10_000;
  expect(forms(run.tick())).toMatchObject([{ to: "w1", rank: 0, generation: 2, source: { kind: "held" } }]);
  expect(run.state.losses).toEqual(["worker w0 (host node1, pid 7): it did not come back"]);
  run.formed("w1");
  expect(kinds(run.comeBack("w0", { generation: 1 }))).toEqual(["welcome"]);
  expect(run.reason).toBe("worker w0 (host node1, pid 7) is back and joins after step 2");
  const effects = run.reduced("w1");
  expect(forms(effects)).toMatchObject([
    { to: "w1", rank: 0, generation: 3, source: { kind: "peer", root: 0, receivers: [1] } },
    { to: "w0", rank: 1, generation: 3, source: { kind: "peer", root: 0, receivers: [1] } },
  ]);
});

test("when nobody comes back, the run is forsaken with the numbers, and the workers that are there may call again", () => {
  const run = afterOneStep();
  run.restart();
  run.comeBack("w0", { step: 0 });
  run.nowMs = 60_000;
  const reason = "nobody (w1) came back within 60 s that holds the weights of step 1";
  expect(run.tick()).toEqual([
    { kind: "dismiss", to: "w0", code: "unavailable", reason },
    { kind: "ended", outcome: { kind: "forsaken", step: 1, generation: 1, reason } },
  ]);
  expect(run.state.over).toBe(false);
});

test("one that held the weights, came and left again does not shorten the wait", () => {
  const run = afterOneStep();
  run.restart();
  run.comeBack("w0");
  run.post({ kind: "left", id: "w0", reason: "its connection closed" });
  run.nowMs = 10_000;
  expect(run.tick()).toEqual([]);
  expect(run.state.phase).toBe("recovering");
  run.comeBack("w0");
  expect(forms(run.comeBack("w1"))).toHaveLength(2);
});

test("who was back and left again is waited for less long than who was not, whoever came first", () => {
  const leave = { kind: "left", id: "w1", reason: "its connection closed" } as const;
  const first = afterOneStep();
  first.restart();
  first.comeBack("w1");
  first.post(leave);
  first.nowMs = 500;
  expect(kinds(first.comeBack("w0"))).toEqual(["welcome"]);
  first.nowMs = 2499;
  expect(first.tick()).toEqual([]);
  first.nowMs = 2500;
  expect(forms(first.tick())).toMatchObject([{ to: "w0", rank: 0, generation: 2, source: { kind: "held" } }]);
  expect(first.reason).toMatch(/going on without w1$/);

  const last = drive({ ...recovers, workers: 3 });
  for (const id of ["w0", "w1", "w2"]) last.join(id);
  for (const id of ["w0", "w1", "w2"]) last.formed(id);
  last.restart();
  for (const id of ["w0", "w1"]) last.comeBack(id, { step: 0 });
  last.post(leave);
  last.nowMs = 2000;
  // w2 has not called yet.
  expect(last.tick()).toEqual([]);
  last.comeBack("w2", { step: 0 });
  last.nowMs = 3000;
  expect(last.tick()).toEqual([]);
  expect(forms(last.comeBack("w1", { step: 0 }))).toHaveLength(3);
});

test("another process in the name of a worker is a newcomer", () => {
  const run = afterOneStep();
  run.restart();
  run.comeBack("w0");
  expect(kinds(besidesPlans(run.join("w1")))).toEqual(["form", "save", "welcome", "prepare"]);
  expect(run.state.losses).toEqual(["worker w1 (host node1, pid 7): another came in its name"]);
});

test("losing all workers at once, as by a cut, is not the end: the run goes on when they are back", () => {
  const run = afterOneStep();
  run.reduced("w0");
  run.post({ kind: "left", id: "w0", reason: "its connection closed" });
  expect(run.post({ kind: "left", id: "w1", reason: "its connection closed" })).toEqual([]);
  expect(run.reason).toMatch(
    /^lost worker w1 .*: waiting up to 60 s for a worker to come back that holds the weights of step 1$/,
  );
  run.comeBack("w1");
  // Lost before, and as good as the other: it takes its place at once.
  expect(run.state.phase).toBe("forming");
  run.formed("w1");
  run.comeBack("w0");
  expect(forms(run.reduced("w1"))).toHaveLength(2);
  expect(run.state.committed).toBe(2);
});

test("a worker that calls again before its old connection is known to be gone takes the place of itself", () => {
  const run = afterOneStep();
  const effects = run.comeBack("w1");
  expect(kinds(besidesPlans(effects))).toEqual(["form", "welcome"]);
  expect(run.reason).toMatch(
    /^generation 1 -> 2 with 1 workers: lost worker w1 .*: it called again; worker w1 .* is back/,
  );
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0"]);
});

test("a stop while nobody is back leaves the run to be recovered; with one that is, it saves what is committed", () => {
  const alone = afterOneStep();
  alone.restart();
  const effects = alone.post({ kind: "stop", reason: "stopped by SIGINT" });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "stopped", step: 1 } });
  expect(isOver(factsOf({ ...job, ...recovers }, alone.state))).toBe(false);

  const both = afterOneStep();
  both.restart();
  both.comeBack("w0");
  expect(kinds(both.post({ kind: "stop", reason: "stopped by SIGINT" }))).toEqual(["form"]);
  expect(both.formed("w0")).toMatchObject([{ kind: "save", step: 1 }]);
});

test("a coordinator that dies before the first generation was complete starts anew, in later generations", () => {
  const run = drive(recovers);
  run.join("w0");
  run.join("w1");
  run.restart();
  expect(run.state).toMatchObject({ phase: "gathering", generation: 1, members: [] });
  run.comeBack("w0", { step: 0, ready: false });
  expect(forms(run.comeBack("w1", { step: 0 }))).toMatchObject([
    { generation: 2, source: { kind: "seed" } },
    { generation: 2, source: { kind: "seed" } },
  ]);
});

test("a worker that drains still drains after the coordinator died", () => {
  const run = afterOneStep();
  run.post({ kind: "drain", id: "w1", reason: "asked to drain" });
  run.restart();
  run.comeBack("w0");
  const effects = run.comeBack("w1");
  expect(kinds(besidesPlans(effects))).toEqual(["welcome", "finish", "form", "save"]);
  expect(effects[1]).toMatchObject({ to: "w1", drained: true });
});

test("the only one that holds the weights does not drain before others do", () => {
  const run = running();
  run.join("w2");
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "" } } });
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.post({ kind: "drain", id: "w0", reason: "asked to drain" });
  run.post({ kind: "left", id: "w1", reason: "killed" });
  expect(run.state.phase).toBe("forming");
  expect(run.state.members.map(({ id, status }) => [id, status])).toEqual([
    ["w0", "draining"],
    ["w2", "healthy"],
  ]);
  run.formed("w0");
  run.formed("w2");
  run.reduced("w0");
  expect(kinds(run.reduced("w2"))).toContain("finish");
});

test("facts of another job, of other batches or of another version are refused with both values", () => {
  const spec = { ...job, ...recovers };
  const { state } = afterOneStep();
  const facts = factsOf(spec, state);
  expect(() => recover({ ...spec, id: "other" }, facts, 0)).toThrow(
    'what the coordinator kept is not of this job: job is "job" in it, "other" now',
  );
  expect(() => recover({ ...spec, globalBatch: 16 }, facts, 0)).toThrow("globalBatch is 8 in it, 16 now");
  expect(() => recover(spec, { ...facts, version: 99 }, 0)).toThrow("version is 99 in it, 1 now");
});

test("what was recovered and has not changed is the same facts again; a vote or a heartbeat changes none", () => {
  const spec = { ...job, ...recovers };
  const run = afterOneStep();
  const before = factsOf(spec, run.state);
  run.restart();
  expect(changesOf(before, factsOf(spec, run.state))).toEqual({});
  run.comeBack("w0");
  run.comeBack("w1");
  run.formed("w0");
  run.formed("w1");
  const then = factsOf(spec, run.state);
  run.reduced("w0");
  const value = { doing: "computing", inCollective: false, count: 1 };
  run.post({ kind: "said", id: "w1", message: { kind: "heartbeat", value } });
  expect(changesOf(then, factsOf(spec, run.state))).toEqual({});
  run.reduced("w1");
  expect(Object.keys(changesOf(then, factsOf(spec, run.state))).sort()).toEqual([
    "applying",
    "committed",
    "ledger",
    "reduction",
    "saveAttempts",
  ]);
});

test("a vote that comes twice, or again after the recovery, is counted once", () => {
  const run = afterOneStep();
  run.reduced("w0");
  const early = run.state.generation;
  run.restart();
  run.comeBack("w0");
  run.comeBack("w1");
  run.formed("w0");
  run.formed("w1");
  expect(run.reduced("w0", { generation: early })).toEqual([]);
  run.reduced("w0");
  expect(run.reduced("w0")).toEqual([]);
  expect(run.state.committed).toBe(1);
  run.reduced("w1");
  expect(run.reduced("w1", { step: 2 })).toEqual([]);
  expect(run.state.committed).toBe(2);
});

test("a newcomer does not take the place of a worker that is waited for", () => {
  const run = running({ ...recovers, globalBatch: 2, totalSamples: 8 });
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.restart();
  expect(run.join("w2")).toMatchObject([{ kind: "dismiss", to: "w2", code: "usage" }]);
  run.comeBack("w0");
  expect(kinds(run.comeBack("w1"))).toContain("form");
});
