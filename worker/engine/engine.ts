// What a worker needs from whatever computes: gradients of one microbatch into flat buffers, losses, logits.
// Engines do not optimise, do not talk to other workers and do not know about steps.

import type { ParameterLayout } from "../model/parameters.ts";

/**
 * Sequences that are computed together, row-major.
 * `inputIds` and `targets` are [rows, length]; `targets[i]` is the token to predict at position i
 * (already shifted), or -100 where nothing is to be predicted.
 */
export interface Microbatch {
  readonly rows: number;
  readonly length: number;
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
}

export interface LossResult {
  /** Sum (not mean) of the cross entropies of the microbatch's unmasked targets, in nats. */
  readonly lossSum: number;
  /** Unmasked targets. */
  readonly tokens: number;
}

export interface Engine {
  /** For logs: "onnx cpu, 1 thread". */
  readonly description: string;
  readonly layout: ParameterLayout;
  /** All parameters, flat, in the layout's order. Read at every call: write to it to change the weights. */
  readonly parameters: Float32Array;
  /**
   * Forward and backward. Adds d(weight * lossSum)/d(parameters) to `gradients` (flat, in the layout's order),
   * or overwrites them when `accumulate` is false. `weight` is 1 / (unmasked tokens of the global batch).
   */
  gradients(
    batch: Microbatch,
    options: { weight: number; accumulate: boolean; gradients: Float32Array },
  ): Promise<LossResult>;
  /** Forward only. */
  loss(batch: Microbatch): Promise<LossResult>;
  /** Logits [rows, length, vocab] of `inputIds`; targets are ignored. */
  logits(batch: Microbatch): Promise<Float32Array>;
  close(): Promise<void>;
}
