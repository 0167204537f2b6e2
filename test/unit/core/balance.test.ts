// Lag and shards by speed, with votes that say how long each worker took: workers as slow as the test wants them.

import { expect, test } from "vitest";
import { lagsOf } from "../../../coordinator/core/balance.ts";
import { leaseOf } from "../../../coordinator/core/ledger.ts";
import { drive } from "../../support/core-drive.ts";

/** A run whose worker i computes `speeds[i]` rows a second and comes to the all-reduce when it is done. */
function paced(speeds: readonly number[], overrides: Parameters<typeof drive>[0] = {}) {
  const run = drive({
    ...{ workers: speeds.length, globalBatch: 12, microbatch: 1, totalSamples: 12 * 60, balance: "speed" as const },
    ...{ validationSequences: 0, evalEvery: 0, checkpointEvery: 0, ...overrides },
  });
  const ids = speeds.map((_, i) => `w${i}`);
  ids.forEach((id) => run.join(id));
  ids.forEach((id) => run.formed(id));
  const said: string[] = [];
  return {
    run,
    said,
    /** Takes a step; the rows of each worker. */
    step: (): number[] => {
      const next = run.state.committed + 1;
      const rows = ids.map((id) => leaseOf(run.state.ledger, id, next).rows);
      const seconds = rows.map((each, i) => each / speeds[i]!);
      for (const [i, id] of ids.entries()) {
        const waited = Math.max(...seconds) - seconds[i]! + 0.01;
        run.reduced(id, { times: { dataSeconds: 0, computeSeconds: seconds[i]!, allReduceSeconds: waited } });
        if (run.reason.includes("shards follow")) said.push(run.reason);
      }
      ids.forEach((id) => run.applied(id));
      return rows;
    },
  };
}

test("who waits least in the all-reduce came last, by the difference to who waited most", () => {
  const lags = lagsOf([0.5, 0.1, 0.4].map((allReduceSeconds) => ({ allReduceSeconds })));
  expect(lags[0]).toBe(0);
  expect(lags[1]).toBeCloseTo(0.4, 12);
  expect(lags[2]).toBeCloseTo(0.1, 12);
});

test("a worker of a third of the speed gets a third of the rows, once, and is late no more", () => {
  const { run, said, step } = paced([30, 10, 20]);
  const before = Array.from({ length: 5 }, step);
  expect(before).toEqual(Array.from({ length: 5 }, () => [4, 4, 4]));
  expect(run.state.members.map(({ pace }) => pace.lagSeconds > 0.05)).toEqual([false, true, true]);
  expect(step()).toEqual([4, 4, 4]); // was planned already
  const after = Array.from({ length: 20 }, step);
  expect(after).toEqual(Array.from({ length: 20 }, () => [6, 2, 4]));
  expect(said.length).toBe(1);
  expect(said[0]).toContain(
    "shards follow the measured speeds from step 7 on: w0 4 -> 6 (30.0 rows/s), w1 4 -> 2 (10.0 rows/s), w2 4 -> 4 (20.0 rows/s)",
  );
  for (const { pace } of run.state.members) expect(pace.lagSeconds).toBeLessThan(1e-9);
  const { committed, leased, duplicated, lost } = run.state.ledger.counts;
  expect({ committed, duplicated, lost }).toEqual({ committed: 26 * 12, duplicated: 0, lost: 0 });
  expect(leased).toBe(27 * 12 + 12);
});

test("nothing changes for a gain of less than a twentieth, or when nobody asks for it", () => {
  const alike = paced([100, 99, 101]);
  expect(new Set(Array.from({ length: 20 }, alike.step).map(String))).toEqual(new Set(["4,4,4"]));
  const equal = paced([30, 10, 20], { balance: "equal" });
  expect(new Set(Array.from({ length: 20 }, equal.step).map(String))).toEqual(new Set(["4,4,4"]));
  expect(equal.run.state.members[1]!.pace.lagSeconds).toBeGreaterThan(0.2);
});

test("bit-identical batches are divided in whole microbatches, and everybody keeps one", () => {
  const { step } = paced([50, 1], { bitIdentical: true, microbatch: 3 });
  Array.from({ length: 6 }, step);
  expect(step()).toEqual([9, 3]);
});

test("what was measured outlives a change of generation", () => {
  const { run, step } = paced([30, 10, 20]);
  Array.from({ length: 7 }, step);
  run.post({ kind: "left", id: "w2", reason: "was killed" });
  run.formed("w0");
  run.formed("w1");
  const next = run.state.committed + 1;
  expect(["w0", "w1"].map((id) => leaseOf(run.state.ledger, id, next).rows)).toEqual([9, 3]);
});
