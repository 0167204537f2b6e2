import { expect, test } from "vitest";
import { besidesPlans, kinds, running } from "../../support/core-drive.ts";

const link = (rank: number) => ({ rank, bytesPerSecond: 1e9, latencySeconds: 1e-4 });

test("a clock that is further from the coordinator's than the limit is worth a sentence, with both numbers and the doubt", () => {
  const run = running();
  const says = (id: string, offsetSeconds: number, roundTripSeconds: number): string => {
    run.post({ kind: "said", id, message: { kind: "clock", value: { offsetSeconds, roundTripSeconds } } });
    return run.reason;
  };
  expect(says("w0", -0.9, 0.002)).toBe("");
  // Half the round trip is doubt.
  expect(says("w0", 1.4, 1)).toBe("");
  expect(says("w1", -3.2144, 0.004)).toMatch(
    /^the clock of worker w1 \(.*host node1.*\) is 3\.214 s behind the coordinator's, give or take 0\.002 s \(limit 1 s\); .* time service$/,
  );
  expect(says("w1", 3.2144, 0.004)).toContain("3.214 s ahead of the coordinator's");
  expect(run.state.members.map(({ clock }) => clock?.offsetSeconds)).toEqual([1.4, 3.2144]);
});

test("links are measured in a generation of their own after the next commit, and once", () => {
  const run = running();
  expect(run.post({ kind: "measure-links" })).toEqual([]);
  expect(run.reason).toBe("the links between 2 workers are measured when step 1 is committed");
  run.reduced("w0");
  const effects = run.reduced("w1");
  expect(kinds(besidesPlans(effects))).toEqual(["commit", "commit", "form", "form"]);
  expect(besidesPlans(effects).slice(2)).toMatchObject([
    { to: "w0", generation: 2, source: { kind: "held" }, measureLinks: true },
    { to: "w1", generation: 2, source: { kind: "held" }, measureLinks: true },
  ]);
  run.formed("w0", { links: [link(1)] });
  run.formed("w1", { links: [link(0)] });
  expect(run.state.phase).toBe("running");
  expect(run.state.links.map(({ from, to }) => `${from} ${to}`)).toEqual(["w0 w1", "w1 w0"]);
  run.reduced("w0");
  expect(kinds(run.reduced("w1"))).not.toContain("form");
  // They are those of a generation that is over.
  run.post({ kind: "left", id: "w1", reason: "killed" });
  expect(run.state.links).toEqual([]);
});

test("a worker that is lost while links are measured costs what it always costs, and the next generation measures nothing", () => {
  const run = running();
  run.post({ kind: "measure-links" });
  run.reduced("w0");
  run.reduced("w1");
  const effects = run.post({ kind: "left", id: "w1", reason: "killed" });
  expect(besidesPlans(effects).at(-1)).toMatchObject({ kind: "form", to: "w0", generation: 3, measureLinks: false });
  run.formed("w0");
  expect(run.state).toMatchObject({ phase: "running", links: [], measure: false });
});

test("one worker has no links, and a run that does not train measures none", () => {
  const run = running();
  run.post({ kind: "left", id: "w1", reason: "killed" });
  run.formed("w0");
  expect(run.post({ kind: "measure-links" })).toEqual([
    { kind: "refuse", reason: "one worker alone has no link to another" },
  ]);
});
