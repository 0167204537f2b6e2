// Where the time of the last steps went, as a table: each part by its median, 90th percentile and maximum over the steps, and what
// the coordinator itself added. The same measurements as the picture of chrome-trace.ts.

import { quantile } from "../../common/median.ts";
import { significant } from "../cli/quantities.ts";
import { table } from "../load/page.ts";
import { overheadMs, type StepTimes, type WorkerTimes } from "./timeline.ts";

type Part = readonly [name: string, ms: (step: StepTimes) => number];

const largest = (pick: (times: WorkerTimes) => number | undefined) => (step: StepTimes) =>
  Math.max(...[...step.workers.values()].map((times) => pick(times) ?? 0));
const smallest = (pick: (times: WorkerTimes) => number | undefined) => (step: StepTimes) =>
  Math.min(...[...step.workers.values()].map((times) => pick(times) ?? Infinity));

const parts: readonly Part[] = [
  ["wait for the shard, slowest", largest(({ waitedMs }) => waitedMs)],
  ["forward and backward, slowest", largest(({ computeMs }) => computeMs)],
  // Whoever comes last waits for nobody.
  ["all-reduce, of the last to come", smallest(({ allReduceMs }) => allReduceMs)],
  ["first vote to last", (step) => largest(({ voted }) => voted)(step) - smallest(({ voted }) => voted)(step)],
  ["coordinator: last vote to commit", overheadMs],
  ["optimizer, slowest", largest(({ applyMs }) => applyMs)],
  ["commit until all have applied it", (step) => largest(({ applied }) => applied)(step) - (step.committed ?? NaN)],
];

/** Milliseconds, a line for each part and one from commit to commit. */
export function summariseTrace(steps: readonly StepTimes[]): string {
  const wholes = steps.flatMap(({ step, committed = NaN }, i) => {
    const before = steps[i - 1];
    return before?.step === step - 1 ? [committed - (before.committed ?? NaN)] : [];
  });
  const rows = [...parts.map(([name, ms]) => [name, steps.map(ms)] as const), ["commit to commit", wholes] as const];
  const cell = (value: number): string => (Number.isNaN(value) ? "?" : `${significant(value, 3)} ms`);
  return table([
    ["", "median", "p90", "max"],
    ...rows.map(([name, values]) => [name, ...[0.5, 0.9, 1].map((q) => cell(quantile(values, q)))]),
  ]);
}
