// Tokens of documents as training samples: one row of tokens, cut into windows of the sequence length.
// No files, no order of samples: that is the sampler's.
//
//   row                eos d1 d1 d1 eos d2 d2 eos        every document between two end-of-text tokens
//   sequence length 4  inputs   eos d1 d1 d1 | eos d2 d2 eos(padding)
//                      targets  d1  d1 d1 eos| d2  d2 eos -100
//
// Every token after the first is a target exactly once per epoch: none is lost at a window's edge, none is repeated.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { Tokenizer } from "../../common/tokenizer.ts";

/** What targets hold where nothing is to be predicted. */
export const ignoredTarget = -100;

export type Tokens = Uint16Array | Uint32Array;

export interface TokenDataset {
  readonly sampleCount: number;
  /** Tokens per sample. */
  readonly sequenceLength: number;
  /** Targets in one epoch: the sum of what `readSample` returns. */
  readonly tokenCount: number;
  /**
   * Writes sample `i` to row `row` of [rows, sequenceLength] buffers; `targets` are shifted by one already.
   * Returns the number of unmasked targets: the sequence length, or fewer in the last sample.
   */
  readSample(i: number, inputIds: Int32Array, targets: Int32Array, row: number): number;
}

/** `tokens` is a row that begins and ends with `eosId`, as `createTokenRow` makes it. */
export function createTokenDataset(tokens: Tokens, sequenceLength: number, eosId: number): TokenDataset {
  assert(tokens.length >= 2, `a row of tokens has at least 2, not ${tokens.length}`);
  const tokenCount = tokens.length - 1;
  const sampleCount = Math.ceil(tokenCount / sequenceLength);
  return {
    sampleCount,
    sequenceLength,
    tokenCount,
    readSample(i, inputIds, targets, row) {
      assert(i >= 0 && i < sampleCount, `sample ${i} is one of ${sampleCount}`);
      const from = i * sequenceLength;
      const to = row * sequenceLength;
      assert(to + sequenceLength <= Math.min(inputIds.length, targets.length), `row ${row} fits the buffers`);
      const real = Math.min(sequenceLength, tokenCount - from);
      inputIds.set(tokens.subarray(from, from + real), to);
      targets.set(tokens.subarray(from + 1, from + 1 + real), to);
      inputIds.fill(eosId, to + real, to + sequenceLength);
      targets.fill(ignoredTarget, to + real, to + sequenceLength);
      return real;
    },
  };
}

export interface TokenRow {
  /** Tokens of a part of a document; parts of one document follow each other. */
  push(ids: readonly number[]): void;
  /** After the last part of every document. */
  endDocument(): void;
  /** Exactly as long as its contents, and 16 bits wide where the vocabulary allows it. */
  finish(): Tokens;
}

/** Collects the tokens of documents, each between two end-of-text tokens. */
export function createTokenRow({ vocabSize, eosId }: Pick<Tokenizer, "vocabSize" | "eosId">): TokenRow {
  const allocate = (length: number): Tokens =>
    vocabSize <= 0x1_0000 ? new Uint16Array(length) : new Uint32Array(length);
  let tokens = allocate(1 << 16);
  let length = 0;
  const reserve = (more: number): void => {
    if (length + more <= tokens.length) return;
    const larger = allocate(Math.max(length + more, Math.ceil(tokens.length * 1.5)));
    larger.set(tokens.subarray(0, length));
    tokens = larger;
  };
  const push = (ids: readonly number[]): void => {
    reserve(ids.length);
    for (const id of ids) {
      if (!(id < vocabSize)) {
        throw new RingtuneError(
          "tokenizer_invalid",
          `token id ${id} is outside the vocabulary of ${vocabSize} tokens`,
          {
            details: { id, vocabSize },
          },
        );
      }
      tokens[length++] = id;
    }
  };
  push([eosId]);
  return { push, endDocument: () => push([eosId]), finish: () => tokens.slice(0, length) };
}
