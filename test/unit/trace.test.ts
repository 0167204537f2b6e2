import { expect, test } from "vitest";
import { chromeTrace } from "../../coordinator/trace/chrome-trace.ts";
import { summariseTrace } from "../../coordinator/trace/summary.ts";
import { createTimeline, overheadMs } from "../../coordinator/trace/timeline.ts";

/** A step of two workers that begins at `at`: w1 computes longer, so w0 waits for it in the all-reduce. */
function play(timeline: ReturnType<typeof createTimeline>, clock: { now: number }, step: number, at: number): void {
  const times = (computeSeconds: number) => ({
    dataSeconds: 0.005,
    computeSeconds,
    allReduceSeconds: 0.11 - computeSeconds,
    microbatches: [],
    buckets: [],
  });
  clock.now = at - 50;
  timeline.planned("w0", step, 3);
  timeline.planned("w1", step, 3);
  for (const [worker, compute, after] of [
    ["w0", 0.08, 111],
    ["w1", 0.1, 112],
  ] as const) {
    clock.now = at + after;
    const value = { step, times: times(compute), bytesSent: 4000, bytesBetweenHosts: 1000 * step };
    timeline.said(worker, { kind: "reduced", value: value as never });
  }
  clock.now = at + 114;
  timeline.committed(step);
  clock.now = at + 130;
  for (const worker of ["w0", "w1"]) {
    timeline.said(worker, { kind: "applied", value: { step, generation: 3, seconds: 0.01, digest: "", notices: [] } });
  }
}

test("what the coordinator adds to a step is the time from the last vote to the commit", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now);
  play(timeline, clock, 1, 1000);
  expect(timeline.last(8).map(overheadMs)).toEqual([2]);
});

test("a summary says where the time went, and what the coordinator added", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now);
  for (const [step, at] of [
    [1, 1000],
    [2, 1200],
    [3, 1500],
  ] as const) {
    play(timeline, clock, step, at);
  }
  const cells = summariseTrace(timeline.last(64))
    .trimEnd()
    .split("\n")
    .map((line) => line.trim().split(/ {2,}/));
  expect(cells).toEqual([
    ["median", "p90", "max"],
    ["wait for the shard, slowest", "5.00 ms", "5.00 ms", "5.00 ms"],
    ["forward and backward, slowest", "100 ms", "100 ms", "100 ms"],
    ["all-reduce, of the last to come", "10.0 ms", "10.0 ms", "10.0 ms"],
    ["first vote to last", "1.00 ms", "1.00 ms", "1.00 ms"],
    ["coordinator: last vote to commit", "2.00 ms", "2.00 ms", "2.00 ms"],
    ["optimizer, slowest", "10.0 ms", "10.0 ms", "10.0 ms"],
    ["commit until all have applied it", "16.0 ms", "16.0 ms", "16.0 ms"],
    ["commit to commit", "200 ms", "300 ms", "300 ms"],
  ]);
  // Of one step alone there is no way from commit to commit.
  expect(summariseTrace(timeline.last(1))).toMatch(/commit to commit +\? +\? +\?\n$/);
});

test("a trace has a row for the coordinator and for each worker, and its spans do not overlap", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now);
  play(timeline, clock, 1, 1000);
  play(timeline, clock, 2, 1200);
  const { traceEvents } = chromeTrace("run1", timeline.last(8));
  expect(traceEvents.filter(({ name }) => name === "thread_name").map(({ args }) => args["name"])).toEqual([
    "coordinator",
    "w0",
    "w1",
  ]);
  for (const row of [0, 1, 2]) {
    const spans = traceEvents.filter(({ ph, tid }) => ph === "X" && tid === row);
    expect(spans.length).toBe(row === 0 ? 6 : 10);
    for (const [index, span] of spans.entries()) {
      expect(span.dur).toBeGreaterThanOrEqual(0);
      const next = spans[index + 1];
      if (next !== undefined) expect(span.ts! + span.dur!).toBeLessThanOrEqual(next.ts!);
    }
  }
  const reduce = traceEvents.filter(({ name }) => name === "all-reduce").map(({ dur, args }) => [args["step"], dur]);
  expect(reduce).toEqual([
    [1, 30_000],
    [1, 10_000],
    [2, 30_000],
    [2, 10_000],
  ]);
  const bytes = traceEvents.filter(({ tid, args }) => tid === 1 && "bytes" in args).map(({ args }) => args["bytes"]);
  expect(bytes).toEqual([
    { sent: 4000, betweenHosts: 1000 },
    { sent: 4000, betweenHosts: 2000 },
  ]);
});

test("a step that was planned anew counts in its last generation, and one that is not complete not yet", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now);
  timeline.planned("gone", 1, 2);
  play(timeline, clock, 1, 1000);
  timeline.planned("w0", 2, 3);
  expect(timeline.last(8).map(({ step, workers }) => [step, [...workers.keys()]])).toEqual([[1, ["w0", "w1"]]]);
});

test("only so many steps are kept", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now, 4);
  for (let step = 1; step <= 20; step++) play(timeline, clock, step, 200 * step);
  expect(timeline.last(100).length).toBeLessThanOrEqual(6);
  expect(timeline.last(2).map(({ step }) => step)).toEqual([19, 20]);
});

test("buckets that are reduced while a worker computes have a row each, by the worker's own clock", () => {
  const clock = { now: 0 };
  const timeline = createTimeline(() => clock.now);
  timeline.planned("w0", 1, 1);
  clock.now = 1000;
  const times = {
    ...{ dataSeconds: 0, computeSeconds: 0.2, allReduceSeconds: 0.01, collectiveSeconds: 0.06 },
    microbatches: [
      { began: 0.21, ended: 0.11 },
      { began: 0.11, ended: 0.01 },
    ],
    buckets: [
      { began: 0.08, ended: 0.05 },
      { began: 0.03, ended: 0 },
    ],
  };
  timeline.said("w0", { kind: "reduced", value: { step: 1, times } as never });
  clock.now = 1001;
  timeline.committed(1);
  timeline.said("w0", { kind: "applied", value: { step: 1, generation: 1, seconds: 0.001, digest: "", notices: [] } });
  const { traceEvents } = chromeTrace("run1", timeline.last(1));
  const rows = traceEvents.filter(({ name }) => name === "thread_name").map(({ args }) => args["name"]);
  expect(rows).toEqual(["coordinator", "w0", "w0 bucket 0", "w0 bucket 1"]);
  const spansOf = (row: number, name: string) =>
    traceEvents
      .filter((event) => event.tid === row && event.name === name)
      .map(({ ts, dur }) => [ts! / 1000, dur! / 1000]);
  expect(spansOf(1, "forward, backward")).toEqual([[0, 200]]);
  expect(spansOf(1, "microbatch 2")).toEqual([[100, 100]]);
  expect(spansOf(2, "all-reduce")).toEqual([[130, 30]]);
  expect(spansOf(3, "all-reduce")).toEqual([[180, 30]]);
});
