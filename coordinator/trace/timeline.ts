// When what happened in the last steps of a run, by worker: kept for whoever asks, at the cost of a few numbers a step. All by the
// coordinator's clock, so clocks of hosts need not agree: workers say how long each part took, and their words arrive when the
// part has ended, give or take the way. Drawing is chrome-trace.ts.

import type { FromWorker } from "../../proto/messages.ts";

type Reduced = Extract<FromWorker, { kind: "reduced" }>["value"];
type Applied = Extract<FromWorker, { kind: "applied" }>["value"];

export interface Stretch {
  readonly began: number;
  readonly ended: number;
}

/** Of one worker in one step. */
export interface WorkerTimes {
  /** For its shard. */
  waitedMs?: number;
  computeMs?: number;
  /** That nothing was computed for. */
  allReduceMs?: number;
  /** Payload to other ranks, and the part of it that left the host. */
  bytes?: { readonly sent: number; readonly betweenHosts: number };
  /** What it did when, in milliseconds before its vote by its own clock: each microbatch, and each bucket if there are several. */
  microbatches?: readonly Stretch[];
  buckets?: readonly Stretch[];
  /** Milliseconds since 1970 when its vote came. */
  voted?: number;
  applyMs?: number;
  /** Milliseconds since 1970 when the word came that it has applied the step. */
  applied?: number;
}

export interface StepTimes {
  readonly step: number;
  readonly generation: number;
  /** By the worker's name. */
  readonly workers: Map<string, WorkerTimes>;
  /** Milliseconds since 1970 when the commit had been sent to all. */
  committed?: number;
}

export interface Timeline {
  planned(worker: string, step: number, generation: number): void;
  committed(step: number): void;
  said(worker: string, message: FromWorker): void;
  /** The last steps that are complete, at most so many, in order. */
  last(steps: number): StepTimes[];
}

/** Steps that are kept. */
export const TIMELINE_STEPS = 64;

export function createTimeline(nowMs: () => number, limit = TIMELINE_STEPS): Timeline {
  const steps = new Map<number, StepTimes>();

  function of(worker: string, step: number): WorkerTimes | undefined {
    return steps.get(step)?.workers.get(worker);
  }

  function reduced(worker: string, { step, times, bytesSent, bytesBetweenHosts }: Reduced): void {
    const entry = of(worker, step);
    if (entry === undefined || times === null) return;
    entry.voted = nowMs();
    entry.waitedMs = times.dataSeconds * 1000;
    entry.computeMs = times.computeSeconds * 1000;
    entry.allReduceMs = times.allReduceSeconds * 1000;
    entry.bytes = { sent: bytesSent, betweenHosts: bytesBetweenHosts };
    entry.microbatches = times.microbatches.map(inMs);
    entry.buckets = times.buckets.map(inMs);
  }

  function applied(worker: string, { step, seconds }: Applied): void {
    const entry = of(worker, step);
    if (entry === undefined) return;
    entry.applied = nowMs();
    entry.applyMs = seconds * 1000;
  }

  return {
    planned(worker, step, generation) {
      const known = steps.get(step);
      // Of an earlier generation: the step was planned anew.
      const entry =
        known?.generation === generation ? known : { step, generation, workers: new Map<string, WorkerTimes>() };
      entry.workers.set(worker, {});
      if (entry !== known) steps.delete(step);
      steps.set(step, entry);
      for (const oldest of steps.keys()) {
        // Two are planned ahead.
        if (steps.size <= limit + 2) break;
        steps.delete(oldest);
      }
    },
    committed(step) {
      const entry = steps.get(step);
      if (entry !== undefined) entry.committed = nowMs();
    },
    said(worker, message) {
      if (message.kind === "reduced") reduced(worker, message.value);
      if (message.kind === "applied") applied(worker, message.value);
    },
    last(count) {
      const whole = [...steps.values()].filter(
        ({ committed, workers }) =>
          committed !== undefined && [...workers.values()].every((times) => times.applied !== undefined),
      );
      return whole.sort((a, b) => a.step - b.step).slice(-count);
    },
  };
}

const inMs = ({ began, ended }: Stretch): Stretch => ({ began: began * 1000, ended: ended * 1000 });

/** What the coordinator itself adds to a step, in milliseconds: from the last vote in to the commit out. */
export function overheadMs({ workers, committed }: StepTimes): number {
  return (committed ?? NaN) - Math.max(...[...workers.values()].map(({ voted }) => voted ?? NaN));
}
