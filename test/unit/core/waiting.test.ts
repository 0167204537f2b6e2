import { expect, test } from "vitest";
import type { Effect } from "../../../coordinator/core/state.ts";
import { besidesPlans, drive, kinds, running } from "../../support/core-drive.ts";

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
  expect(besidesPlans(effects)).toMatchObject([{ kind: "form", to: "w0", generation: 2 }]);
});

test("a ring that broke is soon formed again, whatever else happens meanwhile", () => {
  const run = drive();
  for (const id of ["w0", "w1"]) run.join(id);
  run.formed("w0");
  const value = { generation: 1, step: 1, reason: "rank 1 hung up" };
  run.post({ kind: "said", id: "w0", message: { kind: "interrupted", value } });
  run.formed("w1");
  run.nowMs = 1000;
  expect(besidesPlans(run.tick())).toMatchObject([
    { kind: "form", to: "w0", generation: 2 },
    { kind: "form", to: "w1", generation: 2 },
  ]);
});

test("members that all wait for each other inside a collective are not given up: they form a new generation", () => {
  const run = running();
  for (const id of ["w0", "w1"]) {
    const value = { doing: "reducing step 1", inCollective: true, count: 0 };
    run.post({ kind: "said", id, message: { kind: "heartbeat", value } });
  }
  run.nowMs = 5000;
  expect(besidesPlans(run.post({ kind: "tick" }))).toMatchObject([
    { kind: "form", to: "w0", generation: 2 },
    { kind: "form", to: "w1", generation: 2 },
  ]);
  expect(run.reason).toMatch(/the ring broke, w0, w1 did not reduce step 1 within 5 s and wait for each other$/);
});

test("a coordinator that stood still for longer than the step timeout gives nobody up for it", () => {
  const run = running();
  run.nowMs = 60_000;
  expect(run.post({ kind: "tick" })).toEqual([]);
  expect(run.reason).toMatch(/^the coordinator stood still for 55000 ms/);
  run.reduced("w0");
  expect(kinds(run.reduced("w1"))).toContain("commit");
});

test("of many losses the last sentences are kept", () => {
  const run = running();
  for (let i = 2; i < 40; i++) {
    run.join(`w${i}`);
    run.post({ kind: "left", id: `w${i}`, reason: "its connection closed" });
  }
  expect(run.state.losses.length).toBe(16);
  expect(run.state.losses.at(-1)).toContain("w39");
});

test("a broken ring with nobody lost is tried again by the same members, then without the one that it broke for", () => {
  const run = running();
  const breakRing = (): readonly Effect[] => {
    const value = { generation: run.state.generation, step: 1, reason: "a frame of 12 bytes, expected 64" };
    run.post({ kind: "said", id: "w0", message: { kind: "interrupted", value } });
    run.nowMs += 1000;
    const effects = run.post({ kind: "tick" });
    if (run.state.members.length === 1) return effects;
    run.formed("w0");
    run.formed("w1");
    return effects;
  };
  expect(kinds(besidesPlans(breakRing()))).toEqual(["form", "form"]);
  for (let i = 0; i < 2; i++) breakRing();
  expect(besidesPlans(breakRing())).toMatchObject([
    { kind: "dismiss", to: "w0", code: "collective_failed" },
    { kind: "form", to: "w1" },
  ]);
  expect(run.reason).toMatch(/lost worker w0 .*4 times in a row, 4 times for it; worker w0 .*12 bytes, expected 64/);
});

test("only those are given up who have not applied the step, although nobody has voted for another yet", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  run.nowMs = 5000;
  expect(run.post({ kind: "tick" })[0]).toMatchObject({
    kind: "dismiss",
    to: "w1",
    reason: "did not apply step 1 within 5 s",
  });
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0"]);
});

test("a newcomer for which the ring breaks twice goes, not those that train", () => {
  const run = running();
  run.join("w2");
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "" } } });
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  run.applied("w1");
  for (let time = 1; time <= 2; time++) {
    const value = { generation: run.state.generation, step: 2, reason: "rank 2 does not answer" };
    run.post({ kind: "said", id: "w0", message: { kind: "interrupted", value } });
    run.nowMs += 1000;
    run.post({ kind: "tick" });
  }
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0", "w1"]);
  expect(run.reason).toMatch(/lost worker w2 .*the ring broke 2 times in a row/);
});

test("a run that has waited long enough for its workers begins with those that are there, if they are enough", () => {
  const short = drive({ workers: 3, minWorkers: 2 });
  short.join("w0");
  short.nowMs = 1000;
  short.tick();
  expect(short.reason).toBe("1 of 3 workers joined within 1 s");
  expect(short.state.phase).toBe("ended");

  const run = drive({ workers: 3, minWorkers: 2 });
  run.join("w0");
  expect(run.join("w1")).toMatchObject([{ kind: "welcome" }]);
  run.nowMs = 1000;
  expect(kinds(run.tick())).toEqual(["form", "form"]);
  expect(run.reason).toBe("generation 0 -> 1 with 2 workers: 2 of 3 workers joined within 1 s, and 2 are enough");
  expect(run.state.wanted).toBe(2);
});

test("workers that can't be started are not waited for, as long as the others are enough", () => {
  const run = drive({ workers: 4, minWorkers: 2 });
  run.join("w0");
  expect(run.post({ kind: "launch-failed", reason: "worker w3 (host b) ended with exit code 4" })).toEqual([]);
  expect(run.reason).toBe("worker w3 (host b) ended with exit code 4; the run begins with 3 workers, 2 are enough");
  run.join("w1");
  expect(kinds(run.post({ kind: "launch-failed", reason: "worker w2 ended with exit code 4" }))).toEqual([
    "form",
    "form",
  ]);
  // It has begun: the launcher starts workers again by itself.
  expect(run.post({ kind: "launch-failed", reason: "worker w1 was killed" })).toEqual([]);

  const strict = drive({ workers: 2 });
  strict.join("w0");
  expect(kinds(strict.post({ kind: "launch-failed", reason: "worker w1 ended with exit code 4" }))).toContain("ended");
  expect(strict.reason).toBe("worker w1 ended with exit code 4");
});
