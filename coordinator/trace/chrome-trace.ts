// Steps as a trace that chrome://tracing and ui.perfetto.dev draw: a row for the coordinator, one for each worker, and under it
// one for each bucket that is reduced while the worker computes.
// The format: Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

import type { StepTimes, WorkerTimes } from "./timeline.ts";

export interface TraceEvent {
  readonly name: string;
  /** X: a span. M: the name of a row. */
  readonly ph: "X" | "M";
  /** Microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
  readonly args: Readonly<Record<string, unknown>>;
}

export interface ChromeTrace {
  readonly displayTimeUnit: "ms";
  readonly traceEvents: readonly TraceEvent[];
}

interface Span {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** Besides the step and the generation. */
  readonly args?: Readonly<Record<string, unknown>>;
}

export function chromeTrace(run: string, steps: readonly StepTimes[]): ChromeTrace {
  const workers = [...new Set(steps.flatMap(({ workers }) => [...workers.keys()]))].sort();
  const bucketsOf = (name: string): number =>
    Math.max(0, ...steps.map(({ workers }) => workers.get(name)?.buckets?.length ?? 0));
  const names = workers.flatMap((name) => [
    name,
    ...Array.from({ length: bucketsOf(name) }, (_, bucket) => bucketRow(name, bucket)),
  ]);
  const rowOf = new Map(names.map((name, index) => [name, index + 1]));
  const start = Math.min(...steps.flatMap(({ workers }) => [...workers.values()].map((times) => beginOf(times))));
  const named = (row: number, name: string): TraceEvent => ({
    ...{ name: "thread_name", ph: "M", pid: 1, tid: row },
    args: { name },
  });
  const event = (row: number, { name, from, to, args }: Span, step: StepTimes): TraceEvent => ({
    ...{ name, ph: "X", ts: Math.round((from - start) * 1000), dur: Math.max(0, Math.round((to - from) * 1000)) },
    ...{ pid: 1, tid: row, args: { step: step.step, generation: step.generation, ...args } },
  });
  return {
    displayTimeUnit: "ms",
    traceEvents: [
      { name: "process_name", ph: "M", pid: 1, tid: 0, args: { name: run } },
      named(0, "coordinator"),
      ...names.map((name) => named(rowOf.get(name)!, name)),
      ...steps.flatMap((step) => [
        ...coordinatorSpans(step).map((span) => event(0, span, step)),
        ...[...step.workers].flatMap(([name, times]) =>
          [...workerSpans(times), ...microbatchSpans(times)].map((span) => event(rowOf.get(name)!, span, step)),
        ),
        ...[...step.workers].flatMap(([name, times]) =>
          bucketSpans(times).map((span, bucket) => event(rowOf.get(bucketRow(name, bucket))!, span, step)),
        ),
      ]),
    ],
  };
}

function bucketRow(worker: string, bucket: number): string {
  return `${worker} bucket ${bucket}`;
}

function beginOf({ voted = NaN, waitedMs = 0, computeMs = 0, allReduceMs = 0 }: WorkerTimes): number {
  return voted - allReduceMs - computeMs - waitedMs;
}

/** From the first vote on the coordinator waits, from the last one on the others wait for it. */
function coordinatorSpans({ step, workers, committed = NaN }: StepTimes): Span[] {
  const times = [...workers.values()];
  const votes = times.map(({ voted = NaN }) => voted);
  const applied = times.map((each) => each.applied ?? NaN);
  return [
    { name: `votes of step ${step}`, from: Math.min(...votes), to: Math.max(...votes) },
    { name: `commit ${step}`, from: Math.max(...votes), to: committed },
    { name: `step ${step} is applied`, from: committed, to: Math.max(...applied) },
  ];
}

/** Drawn within the computation. A single one is all of it. */
function microbatchSpans({ voted = NaN, microbatches = [] }: WorkerTimes): Span[] {
  if (microbatches.length < 2) return [];
  return microbatches.map(({ began, ended }, i) => ({
    ...{ name: `microbatch ${i + 1}`, from: voted - began, to: voted - ended },
  }));
}

function bucketSpans({ voted = NaN, buckets = [] }: WorkerTimes): Span[] {
  return buckets.map(({ began, ended }) => ({ name: "all-reduce", from: voted - began, to: voted - ended }));
}

function workerSpans(times: WorkerTimes): Span[] {
  const { voted = NaN, computeMs = 0, allReduceMs = 0, bytes, applied = NaN, applyMs = 0 } = times;
  const computed = voted - allReduceMs;
  const began = computed - computeMs;
  const applying = Math.max(voted, applied - applyMs);
  return [
    { name: "wait for the shard", from: beginOf(times), to: began },
    { name: "forward, backward", from: began, to: computed },
    { name: "all-reduce", from: computed, to: voted, ...(bytes && { args: { bytes } }) },
    { name: "wait for the commit", from: voted, to: applying },
    { name: "optimizer", from: applying, to: applied },
  ];
}
