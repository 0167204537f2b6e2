// What a worker needs from whatever computes: gradients of one microbatch into flat buffers, losses, logits.
// Engines do not optimise, do not talk to other workers and do not know about steps.

import type { ParameterLayout } from "../model/parameters.ts";
import type { Draw } from "./dropout-masks.ts";

/** Sequences that are computed together, row-major. */
export interface Microbatch {
  readonly rows: number;
  readonly length: number;
  /** [rows, length] */
  readonly inputIds: Int32Array;
  /**
   * -100 where nothing is to be predicted. By the model's head: the token or the label of each position [rows, length]
   * (of causal models already shifted), the class of each row [rows], or 0 or 1 for each label [rows, labels].
   */
  readonly targets: Int32Array;
  /** [rows, length], 1 for tokens and 0 for padding, which must be on the right. Left out: all 1. */
  readonly attentionMask?: Int32Array;
  /** [rows, length]; models without token types take no others than 0. Left out: all 0. */
  readonly tokenTypeIds?: Int32Array;
}

export interface LossResult {
  /** Sum (not mean) of the losses (cross entropies, binary ones for several labels) of the microbatch's unmasked targets, in nats. */
  readonly lossSum: number;
  /** Unmasked targets. */
  readonly tokens: number;
  /** Rows with a loss that is NaN or infinite, ascending; absent when the sum is finite. */
  readonly notFiniteRows?: readonly number[];
}

/**
 * Which weights the caller has not written since its last call of this engine: all, or the frozen ones. An engine on a GPU
 * need not copy those again. Left out: any may have been written.
 */
export type Unchanged = "all" | "frozen";

export interface GradientOptions {
  readonly weight: number;
  readonly accumulate: boolean;
  readonly gradients: Float32Array;
  readonly unchanged?: Unchanged | undefined;
  /** Which step, and which of its rows: what decides the masks of dropout. Needed by an engine that has a seed for them. */
  readonly draw?: Draw;
  /**
   * The next call accumulates into the same `gradients`, which nobody reads before: a GPU may keep the sum until then.
   * Left out: false.
   */
  readonly more?: boolean;
}

export interface Engine {
  /** For logs: "onnx cpu, 1 thread". */
  readonly description: string;
  /** Why devices that "auto" prefers were not taken, a sentence each. */
  readonly why: readonly string[];
  /** Of the NVIDIA GPU that it computes on, if it has one and knows which: "GPU-...", or "MIG-..." of a slice. */
  readonly gpuUuid?: string | undefined;
  /** Of the parameters that have gradients: all, unless some are frozen. */
  readonly layout: ParameterLayout;
  /** Those parameters, flat, in the layout's order. Read at every call: write to it to change the weights. */
  readonly parameters: Float32Array;
  /**
   * For each group of tensors that it was made with, numbers that `gradients` writes when it has written the group's gradients,
   * while it still computes others: for another thread, which cleared them before (train/overlap/readiness.ts). Left out by
   * engines that write all gradients at the end.
   */
  readonly ready?: readonly Float32Array[] | undefined;
  /**
   * Forward and backward. Adds d(weight * lossSum)/d(parameters) to `gradients` (flat, in the layout's order),
   * or overwrites them when `accumulate` is false. `weight` is 1 / (unmasked tokens of the global batch).
   */
  gradients(batch: Microbatch, options: GradientOptions): Promise<LossResult>;
  /** Forward only. */
  loss(batch: Microbatch, options?: { readonly unchanged?: Unchanged | undefined }): Promise<LossResult>;
  /**
   * Logits of `inputIds`, [rows, length, vocabulary or labels], for sequence classification [rows, labels]. Targets are
   * checked and otherwise ignored.
   */
  logits(batch: Microbatch, options?: { readonly unchanged?: Unchanged | undefined }): Promise<Float32Array>;
  close(): Promise<void>;
}
