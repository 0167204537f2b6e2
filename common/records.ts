// What a run writes down, a line each in metrics.jsonl, and what metrics, progress and the curve are drawn from.

import type { MetricValues } from "./evaluation/scoring.ts";

/** Seconds of one step, on the slowest worker for each part; they need not add up to `total`. */
export interface StepSeconds {
  /** Waiting for the shard. */
  readonly data: number;
  /** Forward and backward. */
  readonly compute: number;
  /** Gradient all-reduce, waiting for slower neighbours included. */
  readonly allReduce: number;
  /** From the last worker's reduction to the weights being updated everywhere. */
  readonly commit: number;
  /** From the previous step's end to this one's. */
  readonly total: number;
}

/** What became of the samples of a run, from its first step to this one, over all processes of the run. */
export interface LedgerCounts {
  /** Rows planned for a worker. */
  readonly leased: number;
  /** Of those, in committed steps. */
  readonly committed: number;
  /** Of those, given back because their generation ended before the commit. */
  readonly requeued: number;
  /** Rows that were committed twice, and samples that were in no committed step: 0, or the run ends. */
  readonly duplicated: number;
  readonly lost: number;
  /** Sum of the digests of all committed samples, as the workers computed on them; see common/sample-digest.ts. */
  readonly digest: string;
}

/** One committed optimizer step, or a round of local ones: the means and sums are then of all of them. */
export interface StepRecord {
  readonly kind: "step";
  /** From 1: the number of optimizer steps done, this one included. */
  readonly step: number;
  /** How many of them were taken and reduced together, see train.local_steps; absent for one. */
  readonly steps?: number;
  /** Passes over the training data, this step included. */
  readonly epoch: number;
  /** Mean cross entropy over the step's unmasked targets, in nats, before the update. */
  readonly loss: number;
  readonly learningRate: number;
  /** Global L2 norm before clipping; of a skipped step infinite or NaN, which JSON writes as null. */
  readonly gradientNorm: number;
  readonly samples: number;
  /** Unmasked targets. */
  readonly tokens: number;
  readonly seconds: StepSeconds;
  /** Payload bytes sent by all workers. */
  readonly allReduceBytes: number;
  /** Those of them that left a host. Absent in runs of earlier versions. */
  readonly bytesBetweenHosts?: number;
  /** nccl-tests' bus bandwidth: gradient bytes / time * 2(n-1)/n, in bytes per second; 0 with one worker. */
  readonly busBandwidth: number;
  readonly worldSize: number;
  readonly generation: number;
  /** Absent in runs of earlier versions. */
  readonly ledger?: LedgerCounts;
  /** The gradient overflowed and the update was left out; absent otherwise. */
  readonly skipped?: boolean;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
}

/** One pass over the validation sequences, with the weights after `step` steps. */
export interface ValidationRecord {
  readonly kind: "validation";
  readonly step: number;
  /** Mean cross entropy in nats; perplexity is its exponential. */
  readonly loss: number;
  readonly perplexity: number;
  /** Of tasks with labels; common/evaluation/scoring.ts defines them. */
  readonly metrics?: MetricValues;
  readonly tokens: number;
  readonly seconds: number;
  readonly timeMs: number;
}

export type RunRecord = StepRecord | ValidationRecord;
