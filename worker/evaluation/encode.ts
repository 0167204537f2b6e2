// Texts and lists of words as an encoder reads them, and as microbatches: the samples of coordinator/data, for one text at a
// time and with the place of every word.

import { fillTemplate, specialCount } from "../../common/sequence-template.ts";
import { encoderTemplate, type Tokenizer } from "../../common/tokenizer.ts";
import type { Microbatch } from "../engine/engine.ts";
import type { Model } from "../model/model.ts";

export interface Encoded {
  readonly ids: readonly number[];
  /** The token type of each id. */
  readonly types: readonly number[];
  /** Where the first token of each word is, -1 for one without tokens; of as many words as fit, empty for texts. */
  readonly words: readonly number[];
  /** Tokens that did not fit. */
  readonly cut: number;
}

/** A text, or a pair, of at most `longest` tokens. */
export function encodeText(tokenizer: Tokenizer, longest: number, text: string, pair?: string): Encoded {
  const [a, b] = [tokenizer.encode(text), pair === undefined ? undefined : tokenizer.encode(pair)];
  return { ...fillTemplate(encoderTemplate(tokenizer), longest, a, b), words: [] };
}

/** A list of words; those behind the last token that fits are left out. */
export function encodeWords(tokenizer: Tokenizer, longest: number, words: readonly string[]): Encoded {
  const template = encoderTemplate(tokenizer);
  const before = template.single.findIndex(({ kind }) => kind === "text");
  const room = longest - specialCount(template.single);
  const tokens: number[] = [];
  const starts: number[] = [];
  for (const word of words) {
    const ids = tokenizer.encodeWord(word);
    if (tokens.length < room) starts.push(ids.length === 0 ? -1 : before + tokens.length);
    tokens.push(...ids);
  }
  return { ...fillTemplate(template, longest, tokens), words: starts };
}

/** The words of a text: runs of letters and digits, and every other sign by itself, as BERT's tokenizer splits them. */
export function wordsOf(text: string): string[] {
  return text.match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]/gu) ?? [];
}

const shortest = 16;

/** One microbatch, padded on the right to a power of two, so that few graphs are compiled. `targets` in the model's form. */
export function batchOf(
  { maxLength, tokenTypes }: Pick<Model, "maxLength" | "tokenTypes">,
  padId: number,
  encoded: readonly Encoded[],
  targets: (length: number) => Int32Array,
): Microbatch {
  const longest = Math.max(...encoded.map(({ ids }) => ids.length));
  let length = shortest;
  while (length < longest) length *= 2;
  length = Math.min(length, maxLength);
  const size = encoded.length * length;
  const inputIds = new Int32Array(size).fill(padId);
  const attentionMask = new Int32Array(size);
  const tokenTypeIds = new Int32Array(size);
  for (const [row, { ids, types }] of encoded.entries()) {
    inputIds.set(ids, row * length);
    attentionMask.fill(1, row * length, row * length + ids.length);
    tokenTypeIds.set(types, row * length);
  }
  const rows = encoded.length;
  return {
    ...{ rows, length, inputIds, attentionMask, targets: targets(length) },
    ...(tokenTypes > 0 ? { tokenTypeIds } : {}),
  };
}
