import { expect, test } from "vitest";
import { describePlanned, faultKinds, parseFaults, planFault } from "../../../coordinator/chaos/plan.ts";

test("a seed plans the same faults again, another seed others, and fault 7 does not depend on those before", () => {
  const plan = (seed: number) => Array.from({ length: 50 }, (_, i) => planFault(seed, faultKinds, i + 1));
  expect(plan(3)).toEqual(plan(3));
  expect(plan(3)).not.toEqual(plan(4));
  expect(planFault(3, faultKinds, 7)).toEqual(plan(3)[6]);
});

test("every kind that was asked for comes in all its ways, and no other", () => {
  const all = Array.from({ length: 400 }, (_, i) => planFault(1, faultKinds, i));
  expect(new Set(all.map(({ kind }) => kind))).toEqual(new Set(faultKinds));
  const partitions = all.filter(({ kind }) => kind === "partition").map(({ way }) => way);
  expect([...new Set(partitions)].sort()).toEqual([
    "for good",
    "reset",
    "silent",
    "silent downwards",
    "silent upwards",
  ]);
  const some = Array.from({ length: 100 }, (_, i) => planFault(1, ["slow", "kill"], i));
  expect(new Set(some.map(({ kind }) => kind))).toEqual(new Set(["kill", "slow"]));
  for (const { afterSteps, whom, howLong } of all) {
    expect(afterSteps).toBeGreaterThan(0);
    expect(Math.max(whom, howLong)).toBeLessThan(1);
  }
});

test("a planned fault is said in one line", () => {
  const fault = {
    number: 12,
    kind: "pause",
    way: "past the limit",
    afterSteps: 1,
    afterMs: 41,
    whom: 0.618,
    howLong: 0.5,
  } as const;
  expect(describePlanned(fault)).toBe(
    "fault 12: 1 step and 41 ms later, pause (past the limit), worker at 0.62 of those there, length 0.50",
  );
});

test("names of faults are checked against the known ones", () => {
  expect(parseFaults("kill, pause,kill")).toEqual(["kill", "pause"]);
  expect(() => parseFaults("kill,pauze")).toThrow(
    '"pauze" is no fault: there are kill, pause, partition, slow, coordinator and disk; did you mean pause?',
  );
});
