import { expect, test } from "vitest";
import type { StepRecord } from "../../../common/records.ts";
import { efficiencyOf, throughputOf, throughputPage, throughputTable } from "../../../coordinator/load/throughput.ts";

const record = (total: number): StepRecord =>
  ({
    kind: "step",
    tokens: 1000,
    busBandwidth: 2e9,
    seconds: { data: 0, compute: total / 2, allReduce: total / 4, commit: 0.001, total },
  }) as StepRecord;

const run = (totals: readonly number[]) => ({
  engine: "onnx cpu, 1 thread",
  steps: totals.map(record),
  workerBytes: 3e8,
});

test("the first fifth warms up, and the rest counts with its median", () => {
  const result = throughputOf(1, run([9, 0.5, 0.4, 0.6, 0.5]));
  expect(result).toMatchObject({ steps: 4, tokensPerSecond: 2000, workerBytes: 3e8, engine: "onnx cpu, 1 thread" });
  expect(result.seconds.total).toBe(0.5);
  expect(result.seconds.allReduce).toBe(0.125);
});

test("scaling is tokens per second and worker over the first result's", () => {
  const one = throughputOf(1, run([1, 1, 1]));
  const two = throughputOf(2, run([0.625, 0.625, 0.625]));
  expect(efficiencyOf(two, one)).toBeCloseTo(0.8);
  const lines = throughputTable([one, two]).split("\n");
  expect(lines[0]).toMatch(/^workers +tokens\/s +scaling +step +compute +all-reduce +commit +busbw +worker$/);
  expect(lines[2]).toMatch(/^ +2 +1\.6k +0\.80 +625 ms +313 ms +156 ms +1\.00 ms +2\.0GB\/s +300\.0MB$/);
  const page = throughputPage([one, two], new Date(0));
  expect(page).toContain("1970-01-01T00:00:00.000Z");
  expect(page.match(/<svg /g)).toHaveLength(2);
  expect(page).not.toContain("NaN");
});
