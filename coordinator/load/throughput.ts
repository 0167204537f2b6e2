// How much faster training becomes with more workers: the same short run with each number of them, for real. The global batch
// stays, so what is measured is strong scaling, as a user of one machine has it.

import type { StepRecord } from "../../common/records.ts";
import { describeQuantity, significant } from "../cli/quantities.ts";
import { page, table } from "./page.ts";
import { median } from "../../common/median.ts";

export interface ThroughputResult {
  readonly workers: number;
  readonly engine: string;
  /** Measured ones: the first fifth warms up and is left out. */
  readonly steps: number;
  /** Targets per second in the median step. */
  readonly tokensPerSecond: number;
  /** Of the median step, on the slowest worker for each part. */
  readonly seconds: {
    readonly compute: number;
    readonly allReduce: number;
    readonly commit: number;
    readonly total: number;
  };
  /** Bus bandwidth of the median all-reduce in bytes per second; 0 with one worker. */
  readonly busBandwidth: number;
  /** Largest resident size of a worker. */
  readonly workerBytes: number;
}

export function throughputOf(
  workers: number,
  run: { readonly engine: string; readonly steps: readonly StepRecord[]; readonly workerBytes: number },
): ThroughputResult {
  const steps = run.steps.slice(Math.ceil(run.steps.length / 5));
  const middle = (pick: (step: StepRecord) => number): number => median(steps.map(pick));
  return {
    workers,
    engine: run.engine,
    steps: steps.length,
    tokensPerSecond: middle(({ tokens, seconds }) => tokens / seconds.total),
    seconds: {
      compute: middle(({ seconds }) => seconds.compute),
      allReduce: middle(({ seconds }) => seconds.allReduce),
      commit: middle(({ seconds }) => seconds.commit),
      total: middle(({ seconds }) => seconds.total),
    },
    busBandwidth: middle(({ busBandwidth }) => busBandwidth),
    workerBytes: run.workerBytes,
  };
}

/** Tokens per second over what so many times the first result's would be. */
export function efficiencyOf(result: ThroughputResult, first: ThroughputResult): number {
  return result.tokensPerSecond / result.workers / (first.tokensPerSecond / first.workers);
}

const columns: readonly (readonly [string, (result: ThroughputResult, first: ThroughputResult) => string])[] = [
  ["workers", ({ workers }) => String(workers)],
  ["tokens/s", ({ tokensPerSecond }) => describeQuantity(tokensPerSecond)],
  ["scaling", (result, first) => efficiencyOf(result, first).toFixed(2)],
  ["step", ({ seconds }) => milliseconds(seconds.total)],
  ["compute", ({ seconds }) => milliseconds(seconds.compute)],
  ["all-reduce", ({ seconds }) => milliseconds(seconds.allReduce)],
  ["commit", ({ seconds }) => milliseconds(seconds.commit)],
  ["busbw", ({ busBandwidth }) => `${describeQuantity(busBandwidth)}B/s`],
  ["worker", ({ workerBytes }) => `${describeQuantity(workerBytes)}B`],
];

function rowsOf(results: readonly ThroughputResult[]): string[][] {
  const [first] = results;
  if (first === undefined) return [];
  return [columns.map(([name]) => name), ...results.map((result) => columns.map(([, cell]) => cell(result, first)))];
}

export function throughputTable(results: readonly ThroughputResult[]): string {
  return table(rowsOf(results));
}

export function throughputPage(results: readonly ThroughputResult[], when: Date): string {
  const points = (pick: (result: ThroughputResult) => number) =>
    results.map((result) => ({ x: result.workers, y: pick(result) }));
  const [first] = results;
  const linear = (first?.tokensPerSecond ?? 0) / (first?.workers ?? 1);
  return page({
    title: "Throughput of training",
    explanation: `Real workers of this machine train the same batches; medians of ${first?.steps ?? 0} steps, on ${first?.engine ?? "nothing"}.`,
    when,
    rows: rowsOf(results),
    plots: [
      {
        title: "Tokens per second, by workers",
        logarithmicX: false,
        series: [
          { name: "measured", points: points(({ tokensPerSecond }) => tokensPerSecond) },
          { name: "linear", points: points(({ workers }) => workers * linear) },
        ],
      },
      {
        title: "Milliseconds of a step, by workers",
        logarithmicX: false,
        series: [
          { name: "step", points: points(({ seconds }) => 1000 * seconds.total) },
          { name: "compute", points: points(({ seconds }) => 1000 * seconds.compute) },
          { name: "all-reduce", points: points(({ seconds }) => 1000 * seconds.allReduce) },
        ],
      },
    ],
  });
}

function milliseconds(seconds: number): string {
  return `${significant(1000 * seconds, 3)} ms`;
}
