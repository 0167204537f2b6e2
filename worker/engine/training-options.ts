// How gradients are computed, beyond the model and its weights: what regularises them and what saves memory. Losses of
// validation and logits know nothing of it. Which combinations an engine can't compute is said here, before it is made.

import { precisionProblem, type EngineKind, type Precision } from "../../common/devices.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { Head } from "../model/model.ts";

export interface TrainingOptions {
  /** Share of the target's probability that is spread evenly over the vocabulary or the labels, 0 to below 1. */
  readonly labelSmoothing: number;
  /** Of the masks of dropout; undefined drops nothing, whatever rates the model has. */
  readonly dropoutSeed: number | undefined;
  /** "blocks" computes the activations of a block again when the backward pass comes to it, instead of keeping them. */
  readonly recompute: "none" | "blocks";
  /** What matrix products compute in; weights, gradients and losses are float32. */
  readonly precision: Precision;
}

/** What an engine is made with beside its weights. */
export interface WithTraining {
  /** Left out, or what of it is left out: nothing of the kind. */
  readonly training?: Partial<TrainingOptions> | undefined;
}

const plain: TrainingOptions = { labelSmoothing: 0, dropoutSeed: undefined, recompute: "none", precision: "fp32" };

/** What is to compute. */
interface Computer {
  readonly kind: EngineKind;
  readonly device: string;
}

/** `options` with nothing where something is left out. Throws `config_invalid` for what `head` or `computer` can't have. */
export function resolveTraining(
  options: Partial<TrainingOptions> | undefined,
  head: Head,
  { kind, device }: Computer,
): TrainingOptions {
  const training = { ...plain, ...options };
  const { labelSmoothing, precision } = training;
  if (labelSmoothing > 0 && head.kind === "sequence-classification" && head.multiLabel) {
    throw new RingtuneError(
      "config_invalid",
      `train.label_smoothing: ${labelSmoothing} spreads one answer over ${head.labels} labels, and this model answers yes or no to each; set it to 0`,
      { details: { labelSmoothing, labels: head.labels } },
    );
  }
  const problem = precisionProblem(precision, kind, device);
  if (problem !== undefined) {
    throw new RingtuneError("config_invalid", `train.precision: ${precision} ${problem}`, {
      details: { precision, engine: kind, device },
    });
  }
  return training;
}
