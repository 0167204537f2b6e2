// Microbatches checked and made ready for a model: every id in the vocabulary, a masked target replaced by a harmless
// one of weight zero. What is refused is named with its row and position.

import { RingtuneError } from "../../common/errors.ts";
import type { LanguageModel } from "../model/language-model.ts";
import type { LossResult, Microbatch } from "./engine.ts";

const masked = -100;

export interface PreparedBatch {
  /** rows * length */
  readonly tokens: number;
  readonly ids: Int32Array;
  /** Like the microbatch's, with 0 where nothing is to be predicted. */
  readonly targets: Int32Array;
  /** `weight`, or 0 where nothing is to be predicted. */
  readonly weights: Float32Array;
}

/** Throws RingtuneError `model_mismatch` if the model cannot compute this microbatch. */
export function prepareBatch(model: LanguageModel, batch: Microbatch, weight: number): PreparedBatch {
  const { rows, length, inputIds, targets } = batch;
  const tokens = rows * length;
  if (!Number.isInteger(tokens) || rows < 1 || length < 1) {
    throw mismatch(`a microbatch of ${rows} rows of ${length} tokens holds nothing to compute`, { rows, length });
  }
  if (length > model.maxLength) {
    const message = `sequences of ${length} tokens are longer than the ${model.maxLength} positions of ${model.name}`;
    throw mismatch(`${message}; shorten them or use a model with more positions`, { length, limit: model.maxLength });
  }
  if (inputIds.length !== tokens || targets.length !== tokens) {
    const found = `${inputIds.length} token ids and ${targets.length} targets`;
    throw mismatch(`a microbatch of ${rows} x ${length} needs ${tokens} of each, not ${found}`, { rows, length });
  }
  const prepared = { tokens, ids: inputIds, targets: new Int32Array(tokens), weights: new Float32Array(tokens) };
  const vocabulary = model.vocabularySize;
  for (let i = 0; i < tokens; i++) {
    const id = inputIds[i]!;
    const target = targets[i]!;
    if (id < 0 || id >= vocabulary) throw outside("token id", id, i, length, vocabulary);
    if (target === masked) continue;
    if (target < 0 || target >= vocabulary) throw outside("target", target, i, length, vocabulary);
    prepared.targets[i] = target;
    prepared.weights[i] = weight;
  }
  return prepared;
}

/** Sums in double precision over the targets that `batch` does not mask. */
export function sumLosses(losses: ArrayLike<number>, targets: Int32Array): LossResult {
  let lossSum = 0;
  let tokens = 0;
  for (let i = 0; i < targets.length; i++) {
    if (targets[i] === masked) continue;
    lossSum += losses[i]!;
    tokens++;
  }
  return { lossSum, tokens };
}

function outside(what: string, id: number, index: number, length: number, vocabulary: number): RingtuneError {
  const row = Math.floor(index / length);
  const position = index % length;
  const message = `${what} ${id} in row ${row}, position ${position} is outside the vocabulary of ${vocabulary}`;
  return mismatch(`${message}; use the tokenizer that belongs to the model`, { id, row, position, vocabulary });
}

function mismatch(message: string, details: Record<string, number>): RingtuneError {
  return new RingtuneError("model_mismatch", message, { details });
}
