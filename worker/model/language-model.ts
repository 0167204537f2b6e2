// What an engine needs from a model architecture. A model is a description and two pure functions; it owns no tensors.

import type { ParameterLayout } from "./parameters.ts";
import type { tf } from "./tf.ts";

/** The tensor of a parameter, by its Hugging Face name. */
export type ParameterTensors = (name: string) => tf.Tensor;

/** Token ids of rows * length tokens, row-major. */
export interface TokenBatch {
  readonly rows: number;
  readonly length: number;
  /** [rows * length] int32 */
  readonly ids: tf.Tensor;
}

export interface LanguageModel {
  /** For logs and messages. */
  readonly name: string;
  readonly layout: ParameterLayout;
  readonly vocabularySize: number;
  /** Longest sequence that the model has positions for. */
  readonly maxLength: number;
  /** Cross entropy of predicting targets [rows * length] (int32, all in the vocabulary), in nats: [rows * length]. */
  tokenLosses(parameters: ParameterTensors, batch: TokenBatch, targets: tf.Tensor): tf.Tensor;
  /** [rows * length, vocabulary] */
  logits(parameters: ParameterTensors, batch: TokenBatch): tf.Tensor;
}
