// What an engine needs from a model, whatever its architecture: a description and two pure functions. A model owns no
// tensors and no weights; the numbers that it computes with are passed in. Which architectures there are is in
// architectures.ts.

import type { FileConventions } from "./load-parameters.ts";
import type { ParameterLayout } from "./parameters.ts";
import { tf } from "./tf.ts";

/**
 * What the model predicts. Targets are int32 with -100 where nothing is predicted:
 *
 * - `causal-lm`, `masked-lm`: a token of the vocabulary for every position, [rows * length]; causal ones already shifted
 * - `token-classification`: one of `labels` for every position, [rows * length]
 * - `sequence-classification`: one of `labels` for every row, [rows]; with `multiLabel` 0 or 1 for every label, [rows * labels]
 */
export type Head =
  | { readonly kind: "causal-lm" | "masked-lm" }
  | { readonly kind: "token-classification"; readonly labels: number }
  | { readonly kind: "sequence-classification"; readonly labels: number; readonly multiLabel: boolean };

/** Tokens of rows * length positions, row-major. */
export interface BatchTensors {
  readonly rows: number;
  readonly length: number;
  /** [rows * length] int32 */
  readonly ids: tf.Tensor;
  /** [rows * length] float32, 1 for real tokens and 0 for padding; present for models that use one. */
  readonly attentionMask?: tf.Tensor;
  /** [rows * length] int32; present for models that use them. */
  readonly tokenTypeIds?: tf.Tensor;
}

/** The weights that a model computes with. */
export interface Weights {
  /** The tensor of a parameter, by its Hugging Face name. */
  readonly tensor: (name: string) => tf.Tensor;
  /**
   * What the linear layer `module` ("transformer.h.0.attn.c_attn") gives in place of its own result y [tokens, outputs]
   * for x [tokens, inputs]: where an adapter adds its part.
   */
  readonly adapt?: (module: string, x: tf.Tensor, y: tf.Tensor) => tf.Tensor;
  /**
   * In training with dropout: what to keep of `shape`, which is row after row, at a place that has a name of its own in
   * the model, as bool. The same for the same place within one call of the model, however often it is asked.
   */
  readonly mask?: (place: string, shape: readonly number[], rate: number) => tf.Tensor;
  /**
   * In training that recomputes blocks: the trained parameters whose names have `part` in them, adapters too. Left out,
   * activations are kept.
   */
  readonly trained?: (part: string) => tf.Tensor[];
}

/** A matrix that activations are multiplied with, and that an adapter may be put on. */
export interface LinearModule {
  /** "transformer.h.0.attn.c_attn": the parameter is this with ".weight". */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Whether the weight is [inputs, outputs], as Hugging Face's Conv1D stores it, and not [outputs, inputs]. */
  readonly transposed: boolean;
}

/** How a parameter starts when nothing is loaded: the same number everywhere, or around 0, normal or uniform. */
export type Initial =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "normal"; readonly deviation: number }
  | { readonly kind: "uniform"; readonly bound: number };

export interface Model {
  /** For logs and messages: "gpt2 with 4 layers, width 256". */
  readonly name: string;
  /** Hugging Face's config.json, checked, to be saved beside the weights. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly head: Head;
  /** Every parameter, trained or not. */
  readonly layout: ParameterLayout;
  /** The linear layers inside the blocks, without the head. */
  readonly linears: readonly LinearModule[];
  readonly vocabularySize: number;
  /** Longest sequence that the model can compute. */
  readonly maxLength: number;
  /** What limits it, after "longer than the 4096 "; "positions" when left out. */
  readonly lengthLimit?: string;
  /** Size of the last dimension of the logits: the vocabulary or the labels. */
  readonly outputs: number;
  /** Whether positions see only what is before them; then padding is on the right and needs no mask. */
  readonly causal: boolean;
  /** How many token types there are; 0 for a model without. */
  readonly tokenTypes: number;
  readonly files: FileConventions;
  initial(tensor: { readonly name: string; readonly shape: readonly number[] }): Initial;
  /**
   * Loss of each target, in nats, of the targets' shape (see `Head`). Masked targets are replaced by 0 before.
   * `labelSmoothing` is 0 for heads without softmax.
   */
  losses(weights: Weights, batch: BatchTensors, targets: tf.Tensor, labelSmoothing?: number): tf.Tensor;
  /** [rows * length, outputs], for sequence classification [rows, outputs] */
  logits(weights: Weights, batch: BatchTensors): tf.Tensor;
}

/** How many targets (and losses) each row of `length` tokens has. */
export function targetsPerRow(head: Head, length: number): number {
  if (head.kind !== "sequence-classification") return length;
  return head.multiLabel ? head.labels : 1;
}

/** Rows of logits for a batch. */
export function logitRows(head: Head, rows: number, length: number): number {
  return head.kind === "sequence-classification" ? rows : rows * length;
}

/** For `Weights.trained`: the tensors of `trainable` whose names have `part` in them. */
export function trainedWithin(
  trainable: ParameterLayout,
  part: string,
  { tensor }: Pick<Weights, "tensor">,
): tf.Tensor[] {
  return trainable.specs.filter(({ name }) => name.includes(part)).map(({ name }) => tensor(name));
}

/** `weights` with names that begin with `prefix`. */
export function within(weights: Weights, prefix: string): Weights {
  const { adapt, mask, trained } = weights;
  return {
    tensor: (name) => weights.tensor(prefix + name),
    ...(mask === undefined ? {} : { mask: (place, shape, rate) => mask(prefix + place, shape, rate) }),
    ...(trained === undefined ? {} : { trained: (part) => trained(prefix + part) }),
    ...(adapt === undefined ? {} : { adapt: (module, x, y) => adapt(prefix + module, x, y) }),
  };
}
