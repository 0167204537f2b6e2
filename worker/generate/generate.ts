// Tokens one after another from an engine, each computed anew over the last tokens: there is no cache of keys and values.
// A model is causal, so sequences are padded on the right to a few lengths and few graphs are compiled.

import { assert } from "../../common/errors.ts";
import type { Random } from "../../common/random.ts";
import type { Engine } from "../engine/engine.ts";
import { sampleToken, type SamplingOptions } from "./sample.ts";

export interface GenerateOptions {
  readonly engine: Pick<Engine, "logits">;
  /** Longest sequence that the model can see; what is further back is forgotten. */
  readonly positions: number;
  /** Only tokens below this are drawn: a model may have more rows than its tokenizer has tokens. */
  readonly vocabSize: number;
  /** Begins an empty prompt, ends the generation, and is not part of the result. */
  readonly eosId: number;
  /** At most so many tokens. */
  readonly count: number;
  readonly sampling: SamplingOptions;
  readonly random: Random;
}

export async function* generateTokens(prompt: readonly number[], options: GenerateOptions): AsyncGenerator<number> {
  const { engine, positions, vocabSize, eosId, count, sampling, random } = options;
  const tokens = prompt.length === 0 ? [eosId] : prompt.slice(-positions);
  for (let done = 0; done < count; done++) {
    const length = paddedLength(tokens.length, positions);
    const inputIds = new Int32Array(length).fill(eosId);
    inputIds.set(tokens);
    const targets = new Int32Array(length).fill(-100);
    const logits = await engine.logits({ rows: 1, length, inputIds, targets }); // [1, length, vocabulary]
    const vocabulary = logits.length / length;
    assert(vocabSize <= vocabulary, `a vocabulary of ${vocabSize} tokens in a model of ${vocabulary}`);
    const start = (tokens.length - 1) * vocabulary;
    const token = sampleToken(logits.subarray(start, start + vocabSize), sampling, random);
    if (token === eosId) return;
    yield token;
    tokens.push(token);
    if (tokens.length > positions) tokens.shift();
  }
}

/** The next power of two from 16 on, at most `positions`. */
export function paddedLength(length: number, positions: number): number {
  let padded = 16;
  while (padded < length) padded *= 2;
  return Math.min(padded, positions);
}
