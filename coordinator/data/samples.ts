// Samples of any task, and a batch made of them: rows of one length, padded on the right, with targets in the shape of the
// head. What a sample is made from is the tasks' business, which rows are read the sampler's.

import { assert } from "../../common/errors.ts";

/** What targets hold where nothing is to be predicted. */
export const ignoredTarget = -100;

export interface Sample {
  /** At least one token, at most the dataset's sequence length. */
  readonly ids: ArrayLike<number>;
  /** As many as `ids` (`ignoredTarget` where nothing is predicted), or as many as the dataset has for a row. */
  readonly targets: ArrayLike<number>;
  /** Token types, 0 or 1, as many as `ids`; left out: all 0. */
  readonly types?: ArrayLike<number>;
}

export interface SampleDataset {
  readonly sampleCount: number;
  /** Longest sample. */
  readonly sequenceLength: number;
  /** Targets in one epoch that are not `ignoredTarget`. */
  readonly targetCount: number;
  /** One for each token, or so many for a whole sample. */
  readonly targetsPerRow: "tokens" | number;
  /** Fills up rows; no target is ever at such a place. */
  readonly padId: number;
  /** Whether the model that reads them sees only what is before a token, so that padding needs no mask. */
  readonly causal: boolean;
  /** All samples but a few have the full length, and every batch is made so long. */
  readonly isPacked: boolean;
  /** `position` is the sample's place in the stream of all epochs: what is drawn at random is drawn for it. */
  sample(i: number, position: number): Sample;
  /** Where sample `i` is from, for sentences: "letters/a.txt", "mail.jsonl:12 to mail.jsonl:14"; undefined if it can't be told. */
  sourceOf?(i: number): string | undefined;
}

/** int32, row-major. */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  readonly targetsPerRow: number;
  /** [rows, length] */
  readonly inputIds: Int32Array;
  /** [rows, targetsPerRow] */
  readonly targets: Int32Array;
  /** [rows, length], 1 for tokens and 0 for padding; undefined where there is none that the model would see. */
  readonly attentionMask: Int32Array | undefined;
  /** [rows, length]; undefined when all are 0. */
  readonly tokenTypeIds: Int32Array | undefined;
  /** Targets that are not `ignoredTarget`: what the loss is divided by. */
  readonly targetCount: number;
}

/** Batches have one of so many lengths, because a compiled program is of one length. */
const lengths = 4;

export function collate(samples: readonly Sample[], dataset: SampleDataset): Batch {
  const { padId, causal } = dataset;
  const length = batchLength(samples, dataset);
  const targetsPerRow = dataset.targetsPerRow === "tokens" ? length : dataset.targetsPerRow;
  const rows = samples.length;
  const inputIds = new Int32Array(rows * length).fill(padId);
  const targets = new Int32Array(rows * targetsPerRow).fill(ignoredTarget);
  const attentionMask = new Int32Array(rows * length);
  const tokenTypeIds = new Int32Array(rows * length);
  let padding = 0;
  for (const [row, sample] of samples.entries()) {
    const count = sample.ids.length;
    assert(count >= 1 && count <= length, `a sample of ${count} tokens fits a row of ${length}`);
    assert(sample.targets.length <= targetsPerRow, `${sample.targets.length} targets fit ${targetsPerRow}`);
    inputIds.set(sample.ids, row * length);
    targets.set(sample.targets, row * targetsPerRow);
    attentionMask.fill(1, row * length, row * length + count);
    if (sample.types !== undefined) tokenTypeIds.set(sample.types, row * length);
    padding += length - count;
  }
  return {
    rows,
    length,
    targetsPerRow,
    inputIds,
    targets,
    attentionMask: padding === 0 || causal ? undefined : attentionMask,
    tokenTypeIds: tokenTypeIds.some((type) => type !== 0) ? tokenTypeIds : undefined,
    targetCount: countTargets(targets),
  };
}

export function countTargets(targets: ArrayLike<number>): number {
  let count = 0;
  for (let i = 0; i < targets.length; i++) if (targets[i] !== ignoredTarget) count++;
  return count;
}

/** The longest sample's length, rounded up to a quarter of the sequence length. */
function batchLength(samples: readonly Sample[], { sequenceLength, isPacked }: SampleDataset): number {
  if (isPacked) return sequenceLength;
  const longest = samples.reduce((most, { ids }) => Math.max(most, ids.length), 1);
  const unit = Math.ceil(sequenceLength / lengths);
  return Math.min(sequenceLength, Math.ceil(longest / unit) * unit);
}
