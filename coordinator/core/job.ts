// What a job is to the core: numbers only. And the arithmetic that follows from them: which samples make a step,
// what stands between two steps. How a batch is divided is shards.ts.
//
// The samples of all epochs form one stream (coordinator/data/sampler.ts). Step s (from 1) consumes positions
// [(s-1)*G, s*G) of it, G being the global batch; only the last step of a job given in epochs may be smaller. So the
// number of committed steps is the whole state of the data: nothing can be lost or counted twice.
//
// With local steps H (docs/compression.md) H steps are planned, reduced and committed together, as a round. Rounds end at
// multiples of H and after the last step; whatever is due within a round comes when it ends.

import type { Scoring } from "../../common/evaluation/scoring.ts";
import type { LedgerCounts, ValidationRecord } from "../../common/records.ts";
import type { EarlyStopping } from "./early-stopping.ts";
import type { ScheduleOptions } from "./schedule.ts";

export interface Job {
  readonly id: string;
  /** Workers to wait for before the first step. */
  readonly workers: number;
  /** Enough to begin with when the others do not come in time. */
  readonly minWorkers: number;
  /** Sequences per step, over all workers. */
  readonly globalBatch: number;
  /** Sequences that a worker computes at once. */
  readonly microbatch: number;
  /** Steps that workers take alone before they reduce what these have changed; 1 reduces the gradient of every step. */
  readonly localSteps: number;
  /** Results have the same bits at any number of workers; see docs/reproducibility.md. */
  readonly bitIdentical: boolean;
  /** Several workers may compute on one GPU. */
  readonly sharesDevices: boolean;
  /** By what a batch is divided: into equal parts, or by the speed of each worker. */
  readonly balance: "equal" | "speed";
  /** Length of the sample stream: steps * globalBatch, or epochs * samplesPerEpoch. */
  readonly totalSamples: number;
  readonly samplesPerEpoch: number;
  /** Sequences of a validation; 0 never validates. */
  readonly validationSequences: number;
  /** Steps between validations; 0 validates before the first and after the last step only. */
  readonly evalEvery: number;
  /** Steps between checkpoints; 0 writes one after the last step only. */
  readonly checkpointEvery: number;
  /** Who writes them: the workers on the host of rank 0, all, or rank 0 alone. */
  readonly writers: "host" | "all" | "one";
  /** So long is a checkpoint tried again that has to be written: the last one, and those of early stopping. */
  readonly saveRetryMs: number;
  readonly schedule: ScheduleOptions;
  /** Largest global gradient norm; null does not clip. */
  readonly clip: number | null;
  /** A step whose scaled gradient overflows is committed without an update, instead of ending the run. */
  readonly skipsOverflow: boolean;
  /** Between two heartbeats of a worker. */
  readonly heartbeatMs: number;
  readonly joinTimeoutMs: number;
  /** How long workers that hold the weights are waited for when all of them are gone; 0 when they can't come back. */
  readonly recoverMs: number;
  readonly stepTimeoutMs: number;
  /** Steps between comparisons of the workers' weights; 0 never compares. */
  readonly verifyEvery: number;
  /** Null trains all steps. Otherwise every validation has a checkpoint, so that the best can be kept. */
  readonly earlyStopping: EarlyStopping | null;
  /** What validations count besides the loss; null for language models. */
  readonly scoring: Scoring | null;
  readonly start: Start;
}

/** Where the first weights come from, and how many committed steps they contain. */
export type Start =
  | { readonly kind: "seed"; readonly step: 0 }
  | { readonly kind: "model"; readonly step: 0; readonly path: string }
  | {
      readonly kind: "checkpoint";
      readonly step: number;
      readonly path: string;
      /** Of the steps so far, in order. */
      readonly validations: readonly ValidationRecord[];
      /** Of the samples so far; left out by runs of earlier versions. */
      readonly ledger?: LedgerCounts;
    };

/** A range of rows, of the sample stream or of the validation sequences. */
export interface Range {
  readonly start: number;
  readonly rows: number;
}

export function totalSteps(job: Job): number {
  return Math.ceil(job.totalSamples / job.globalBatch);
}

/** The step that the commit after `step` leads to: the next one, or the last of the next round. Beyond the last step too. */
export function nextStep(job: Job, step: number): number {
  const { localSteps } = job;
  const end = (Math.floor(step / localSteps) + 1) * localSteps;
  return step < totalSteps(job) ? Math.min(end, totalSteps(job)) : end;
}

/** The committed step from which a commit leads to `step`. */
export function stepBefore(job: Job, step: number): number {
  return Math.max(job.start.step, roundStart(job, step));
}

function roundStart({ localSteps }: Job, step: number): number {
  return Math.floor((step - 1) / localSteps) * localSteps;
}

/** The samples of the step, or of the round, that leads to `step` (from 1). */
export function batchOf(job: Job, step: number): Range {
  const start = stepBefore(job, step) * job.globalBatch;
  return { start, rows: positionAfter(job, step) - start };
}

/** Samples of the stream that the first `step` steps consume. */
export function positionAfter(job: Job, step: number): number {
  return Math.min(step * job.globalBatch, job.totalSamples);
}

/** Rows that are never divided between workers: a microbatch where its gradient must have the same bits whoever computes it. */
export function shardUnit({ bitIdentical, microbatch }: Job): number {
  return bitIdentical ? microbatch : 1;
}

/** Of the all-reduce, for each trained parameter: a float32, or an integer of 64 bits. */
export function reducedBytes({ bitIdentical }: Job): number {
  return bitIdentical ? 8 : 4;
}

export function validatesAfter(job: Job, step: number): boolean {
  if (job.validationSequences === 0) return false;
  return step === 0 || step === totalSteps(job) || isDueAt(job, step, job.evalEvery);
}

export function savesAfter(job: Job, step: number): boolean {
  if (step === 0) return false;
  if (job.earlyStopping !== null && validatesAfter(job, step)) return true;
  return step === totalSteps(job) || isDueAt(job, step, job.checkpointEvery);
}

/** Whether `step`, or another of the round that it ends, is a multiple of `every`; 0 is never. */
export function isDueAt(job: Job, step: number, every: number): boolean {
  return every > 0 && Math.floor(step / every) > Math.floor(roundStart(job, step) / every);
}
