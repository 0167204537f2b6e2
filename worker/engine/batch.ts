// Microbatches checked and made ready for a model: every id in the vocabulary, a masked target replaced by a harmless
// one of weight zero. What is refused is named with its row and position.

import { RingtuneError } from "../../common/errors.ts";
import { targetsPerRow, type Model } from "../model/model.ts";
import type { LossResult, Microbatch } from "./engine.ts";

const masked = -100;

export interface PreparedBatch {
  /** rows * length */
  readonly tokens: number;
  readonly ids: Int32Array;
  /** Like the microbatch's, with 0 where nothing is to be predicted. */
  readonly targets: Int32Array;
  /** Of each target: `weight`, or 0 where nothing is to be predicted. */
  readonly weights: Float32Array;
  /** [rows * length], for models that use one. */
  readonly attentionMask: Float32Array | undefined;
  /** [rows * length], for models that have them. */
  readonly tokenTypeIds: Int32Array | undefined;
}

/** Throws RingtuneError `model_mismatch` if the model cannot compute this microbatch. */
export function prepareBatch(model: Model, batch: Microbatch, weight: number): PreparedBatch {
  const { rows, length, inputIds } = batch;
  const tokens = rows * length;
  if (!Number.isInteger(tokens) || rows < 1 || length < 1) {
    throw mismatch(`a microbatch of ${rows} rows of ${length} tokens holds nothing to compute`, { rows, length });
  }
  if (length > model.maxLength) {
    const limit = `${model.maxLength} ${model.lengthLimit ?? "positions"} of ${model.name}`;
    const message = `sequences of ${length} tokens are longer than the ${limit}`;
    throw mismatch(`${message}; shorten them or use another model`, { length, limit: model.maxLength });
  }
  assertSizes(model, batch, tokens);
  const vocabulary = model.vocabularySize;
  for (let i = 0; i < tokens; i++) {
    const id = inputIds[i]!;
    if (id < 0 || id >= vocabulary) throw outside("token id", id, i, length, vocabulary);
  }
  return {
    tokens,
    ids: inputIds,
    ...prepareTargets(model, batch, weight),
    attentionMask: prepareMask(model, batch),
    tokenTypeIds: prepareTypes(model, batch),
  };
}

/** Sums in double precision over the targets that `batch` does not mask. */
export function sumLosses(losses: ArrayLike<number>, { rows, targets }: Microbatch): LossResult {
  let lossSum = 0;
  let tokens = 0;
  for (let i = 0; i < targets.length; i++) {
    if (targets[i] === masked) continue;
    lossSum += losses[i]!;
    tokens++;
  }
  if (Number.isFinite(lossSum)) return { lossSum, tokens };
  const perRow = targets.length / rows;
  const isBroken = (i: number): boolean => targets[i] !== masked && !Number.isFinite(losses[i]);
  const notFiniteRows = Array.from({ length: rows }, (_, row) => row).filter((row) =>
    Array.from({ length: perRow }, (_, i) => row * perRow + i).some(isBroken),
  );
  return { lossSum, tokens, notFiniteRows };
}

function assertSizes(model: Model, batch: Microbatch, tokens: number): void {
  const { rows, length, inputIds, targets } = batch;
  const perRow = targetsPerRow(model.head, length);
  const wanted = perRow === length ? `${tokens} of each` : `${tokens} token ids and ${rows * perRow} targets`;
  if (inputIds.length !== tokens || targets.length !== rows * perRow) {
    const found = `${inputIds.length} token ids and ${targets.length} targets`;
    throw mismatch(`a microbatch of ${rows} x ${length} needs ${wanted}, not ${found}`, { rows, length });
  }
  for (const [what, values] of [
    ["attention mask", batch.attentionMask],
    ["token type ids", batch.tokenTypeIds],
  ] as const) {
    if (values === undefined || values.length === tokens) continue;
    const message = `a microbatch of ${rows} x ${length} needs ${tokens} numbers as its ${what}, not ${values.length}`;
    throw mismatch(message, { rows, length });
  }
}

function prepareTargets({ head, vocabularySize }: Model, { length, targets }: Microbatch, weight: number) {
  const prepared = { targets: new Int32Array(targets.length), weights: new Float32Array(targets.length) };
  const bySequence = head.kind === "sequence-classification";
  const multiLabel = bySequence && head.multiLabel;
  const limit = multiLabel ? 2 : "labels" in head ? head.labels : vocabularySize;
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i]!;
    if (target === masked) continue;
    if (target < 0 || target >= limit) {
      if (!("labels" in head)) throw outside("target", target, i, length, limit);
      const perRow = targetsPerRow(head, length);
      const [row, position] = [Math.floor(i / perRow), i % perRow];
      const where = !bySequence ? `, position ${position}` : multiLabel ? `, label ${position}` : "";
      const wanted = multiLabel ? "neither 0 nor 1" : `not one of the model's ${limit} labels (0 to ${limit - 1})`;
      throw mismatch(`target ${target} in row ${row}${where} is ${wanted}`, { target, row, limit });
    }
    prepared.targets[i] = target;
    prepared.weights[i] = weight;
  }
  return prepared;
}

/** Padding is on the right, after one token at least: positions count from the left, and every row has a first token. */
function prepareMask(model: Model, { rows, length, attentionMask }: Microbatch): Float32Array | undefined {
  if (attentionMask === undefined) return model.causal ? undefined : new Float32Array(rows * length).fill(1);
  for (let i = 0; i < attentionMask.length; i++) {
    const value = attentionMask[i]!;
    const [row, position] = [Math.floor(i / length), i % length];
    if (value !== 0 && value !== 1) {
      const message = `the attention mask is ${value} in row ${row}, position ${position}, where it must be 0 or 1`;
      throw mismatch(message, { row, position });
    }
    if (position === 0 ? value === 0 : value === 1 && attentionMask[i - 1] === 0) {
      const message = `row ${row} has padding before position ${position + 1 - value}; padding belongs on the right`;
      throw mismatch(message, { row, position });
    }
  }
  // A causal model does not see what is on the right.
  return model.causal ? undefined : Float32Array.from(attentionMask);
}

function prepareTypes({ name, tokenTypes }: Model, batch: Microbatch): Int32Array | undefined {
  const { rows, length, tokenTypeIds } = batch;
  const wrong = tokenTypeIds?.findIndex((type) => type < 0 || type >= Math.max(tokenTypes, 1)) ?? -1;
  if (wrong !== -1) {
    const [row, position] = [Math.floor(wrong / length), wrong % length];
    const found = `token type ${tokenTypeIds![wrong]} in row ${row}, position ${position}`;
    throw mismatch(`${found} is not one of the ${tokenTypes} of ${name}`, { row, position, limit: tokenTypes });
  }
  if (tokenTypes === 0) return undefined;
  return tokenTypeIds ?? new Int32Array(rows * length);
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
