import { expect, test } from "vitest";
import { drive, kinds, running } from "../../support/core-drive.ts";

test("weights that differ after forming are named, and replaced by those of the lowest rank", () => {
  const run = drive();
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  const effects = run.formed("w1", { digest: "x" });
  expect(run.reason).toMatch(
    /^the weights of worker w1 \(.*\) differ after step 0: digest x, 1 of 2 workers have d; generation 1 -> 2/,
  );
  expect(effects.slice(0, 2)).toMatchObject([
    { kind: "form", to: "w0", source: { kind: "peer", root: 0, receivers: [1] } },
    { kind: "form", to: "w1", source: { kind: "peer", root: 0, receivers: [1] } },
  ]);
  expect(effects.slice(2)).toMatchObject([
    { kind: "plan", to: "w0", step: 1, shard: { start: 0, rows: 8 } },
    { kind: "plan", to: "w1", step: 1, shard: { start: 8, rows: 0 } },
    { kind: "plan", to: "w0", step: 2, shard: { start: 8, rows: 4 } },
    { kind: "plan", to: "w1", step: 2, shard: { start: 12, rows: 4 } },
  ]);
  for (const id of ["w0", "w1"]) run.reduced(id);
  expect(run.state.committed).toBe(0);
  run.formed("w0");
  expect(kinds(run.formed("w1"))).toEqual(["commit", "commit", "plan", "plan"]);
});

test("a worker whose weights never are those of the others is sent away", () => {
  const run = drive();
  run.join("w0");
  run.join("w1");
  for (let i = 0; i < 3; i++) {
    run.formed("w0");
    run.formed("w1", { digest: `x${i}` });
  }
  expect(run.reason).toMatch(/lost worker w1 .*what it holds differed 3 times$/);
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
    { to: "w0", step: 1, source: { kind: "peer", root: 1, receivers: [0] } },
    { to: "w1", step: 1, source: { kind: "peer", root: 1, receivers: [0] } },
    { to: "w2", step: 1, source: { kind: "peer", root: 1, receivers: [0] } },
  ]);
});

test("a newcomer has no say about weights: with those of a worker that differs it would outvote the right ones", () => {
  const run = running();
  run.join("w2");
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "" } } });
  run.reduced("w0");
  run.reduced("w1");
  run.formed("w0", { digest: "right" });
  run.formed("w1", { digest: "odd" });
  run.formed("w2", { digest: "right" });
  expect(run.reason).toMatch(
    /^the weights of worker w1 .* differ after step 1: digest odd, 1 of 2 workers have right;/,
  );
});
