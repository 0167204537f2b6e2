import { expect, test } from "vitest";
import type { ChaosResult, Fault } from "../../../coordinator/chaos/chaos.ts";
import { planFault } from "../../../coordinator/chaos/plan.ts";
import { describeFault, describeResult } from "../../../coordinator/chaos/report.ts";

function fault(number: number, outcome: Partial<Fault["outcome"]>): Fault {
  return { planned: planFault(1, ["kill"], number), outcome: { target: "w3", found: "computing step 4", ...outcome } };
}

const result: ChaosResult = {
  run: "runs/x",
  seed: 1,
  seconds: 10,
  faults: [
    fault(1, { recoveredMs: 80, redoneMs: 30 }),
    fault(2, { recoveredMs: 100, found: "reducing step 9" }),
    fault(3, { missed: "it had ended by itself" }),
  ],
  started: 5,
  killed: 2,
  generations: 5,
  steps: 40,
  samples: { leased: 52, committed: 48, requeued: 4, duplicated: 0, lost: 0, digest: "d" },
  survivorsRestarted: 0,
  checkpointsRestored: 0,
  digest: "0123456789abcdef0123",
  violations: [],
};

test("a fault is one line", () => {
  expect(describeFault(result.faults[0]!)).toBe(
    "fault 1  kill w3 (computing step 4): the next commit after 80 ms, 30 ms of it the step done anew",
  );
  expect(describeFault(result.faults[2]!)).toBe(
    "fault 3  kill w3 (computing step 4): not counted: it had ended by itself",
  );
});

test("the report counts what took effect, and says what was lost", () => {
  const text = describeResult(result);
  expect(text).toContain("seed 1: 2 faults in 10s (0.20 a second), 40 steps committed in 5 generations");
  expect(text).toMatch(/^kill +2 +1 +80 ms +100 ms +100 ms$/m);
  expect(text).toContain("found while  computing 1, reducing 1");
  expect(text).toMatch(/nothing was lost\n$/);
  expect(describeResult({ ...result, violations: ["a", "b"] })).toMatch(/WRONG: a; b\n$/);
});
