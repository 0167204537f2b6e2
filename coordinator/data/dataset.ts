// Tokens of documents as training samples: one row of tokens, cut into windows of the sequence length.
// No files, no order of samples: that is the sampler's.
//
//   row                eos d1 d1 d1 eos d2 d2 eos        every document between two end-of-text tokens
//   sequence length 4  inputs   eos d1 d1 d1 | eos d2 d2 eos(padding)
//                      targets  d1  d1 d1 eos| d2  d2 eos (ignored)
//
// Every token after the first is a target exactly once per epoch: none is lost at a window's edge, none is repeated.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { Tokenizer } from "../../common/tokenizer.ts";
import type { SampleDataset } from "./samples.ts";

export type Tokens = Uint16Array | Uint32Array;

/**
 * `tokens` is a row that begins and ends with `eosId`, as `createTokenRow` makes it. Targets are shifted by one already; the
 * last sample may be shorter. `sources` names the documents in order.
 */
export function createTokenDataset(
  tokens: Tokens,
  sequenceLength: number,
  eosId: number,
  sources?: readonly string[],
): SampleDataset {
  assert(tokens.length >= 2, `a row of tokens has at least 2, not ${tokens.length}`);
  const targetCount = tokens.length - 1;
  const sampleCount = Math.ceil(targetCount / sequenceLength);
  return {
    sampleCount,
    sequenceLength,
    targetCount,
    targetsPerRow: "tokens",
    padId: eosId,
    causal: true,
    isPacked: true,
    sample(i) {
      assert(i >= 0 && i < sampleCount, `sample ${i} is one of ${sampleCount}`);
      const from = i * sequenceLength;
      const to = Math.min(from + sequenceLength, targetCount);
      return { ids: tokens.subarray(from, to), targets: tokens.subarray(from + 1, to + 1) };
    },
    ...(sources === undefined ? {} : { sourceOf: (i: number) => sourceOf(i, sources) }),
  };

  function sourceOf(i: number, sources: readonly string[]): string | undefined {
    const from = i * sequenceLength;
    const to = Math.min(from + sequenceLength, targetCount);
    const endsUntil = (end: number): number => {
      let ends = 0;
      for (let t = 0; t < end; t++) if (tokens[t] === eosId) ends++;
      return ends;
    };
    // A document that holds the end-of-text token itself would shift the names.
    if (endsUntil(tokens.length) !== sources.length + 1) return undefined;
    const [first, last] = [sources[endsUntil(from + 1) - 1], sources[endsUntil(to) - 1]];
    return first === last ? first : `${first} to ${last}`;
  }
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
