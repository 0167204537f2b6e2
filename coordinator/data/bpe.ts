// Trains a byte-level BPE (Sennrich et al., 2016; bytes as in GPT-2) on documents and writes it in the form of Hugging
// Face's tokenizer.json. It does not encode: common/tokenizer.ts does, from what is written here.
//
// Every distinct word is kept once, as a list of symbols with its number of occurrences. The most frequent pair of
// neighbouring symbols becomes a symbol, everywhere, and again:
//
//   words             pairs                    merge
//   l o w   x 5       (l,o) 7  (o,w) 7 ...     l+o -> lo    a tie: the smaller left id wins, then the smaller right id
//   l o t   x 2
//   lo w    x 5       (lo,w) 5 (lo,t) 2        lo+w -> low
//
// A heap gives the next pair. Its counts may be stale, because a count falls without the heap being told: a stale top
// goes back with its true count. A merge costs only the words that hold the pair: O(their length), plus the heap's log n.

import { alphabet, characterOfByte, detached, segmentsOf, splitWords } from "../../common/byte-level.ts";
import { RingtuneError } from "../../common/errors.ts";
import { encoderTokens, endOfText } from "../../common/tokenizer-definition.ts";
import { createHeap } from "./heap.ts";
import { createReporter, type ProgressOptions } from "./progress.ts";

/** Pairs seen less often than this are no merges: they would learn one document by heart. */
const leastCount = 2;

/** What reads the tokens: a decoder's texts end in one special token, an encoder's stand between special tokens. */
export type ModelSide = "decoder" | "encoder";

export interface BpeOptions extends ProgressOptions {
  /** Tokens of the vocabulary: 256 bytes, the special tokens (1 for a decoder, 4 for an encoder), and merges. */
  readonly vocabSize: number;
  /** Left out: a decoder. */
  readonly side?: ModelSide | undefined;
}

export interface TrainedBpe {
  /** The contents of tokenizer.json. */
  readonly json: string;
  /** Tokens, the end-of-text token included. Less than asked where no pair occurs twice any more. */
  readonly vocabSize: number;
}

/**
 * The same texts in any order give the same tokenizer, to the byte. "<|endoftext|>" in a text is trained on as text.
 * The ids are GPT-2's: bytes 0 to 255 (in the order of their characters), merges in the order learned, special tokens last.
 * @throws RingtuneError tokenizer_invalid when vocabSize is less than 256 and the special tokens
 */
export async function trainBpe(texts: Iterable<string>, options: BpeOptions): Promise<TrainedBpe> {
  const specials = options.side === "encoder" ? Object.values(encoderTokens) : [endOfText];
  const smallest = alphabet.length + specials.length;
  if (options.vocabSize < smallest) {
    const what = specials.length === 1 ? "the end-of-text token" : specials.join(", ");
    throw new RingtuneError(
      "tokenizer_invalid",
      `a vocabulary of ${options.vocabSize} tokens is too small: 256 bytes and ${what} make ${smallest}; set tokenizer.vocab_size to at least that`,
      { details: { vocabSize: options.vocabSize, smallest } },
    );
  }
  const wanted = options.vocabSize - specials.length;
  const { tokens, merges } = await learnMerges(await countWords(texts, options), wanted, options);
  return { json: tokenizerJson(tokens, specials, merges), vocabSize: tokens.length + specials.length };
}

/** How often each word of the texts occurs. */
async function countWords(texts: Iterable<string>, options: BpeOptions): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const report = createReporter("words", undefined, options);
  let characters = 0;
  for (const text of texts) {
    for (const segment of segmentsOf(text)) {
      for (const word of splitWords(segment)) {
        const count = counts.get(word);
        if (count === undefined) counts.set(detached(word), 1);
        else counts.set(word, count + 1);
      }
      characters += segment.length;
      await report(characters);
    }
  }
  return counts;
}

interface Pair {
  readonly left: number;
  readonly right: number;
  count: number;
  /** Words that hold the pair, or held it once; a word may be listed twice. */
  readonly words: number[];
}

async function learnMerges(
  wordCounts: ReadonlyMap<string, number>,
  wanted: number,
  options: BpeOptions,
): Promise<{ tokens: string[]; merges: string[] }> {
  const tokens = [...alphabet];
  const merges: string[] = [];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const { symbols, occurrences } = spellWords(wordCounts, idOf);
  const pairs = new Map<number, Pair>();
  const heap = createHeap<{ count: number; pair: Pair }>((a, b) => comesBefore(a, b));
  const grown = new Set<Pair>();

  /** Adds a word's pairs to the counts, or takes them away. After a merge only the pairs with the `born` symbol are new. */
  const count = (word: number, sign: 1 | -1, born?: number): void => {
    const spelling = symbols[word] ?? [];
    const times = sign * (occurrences[word] ?? 0);
    for (let i = 1; i < spelling.length; i++) {
      const left = spelling[i - 1]!;
      const right = spelling[i]!;
      const key = left * 0x20_0000 + right; // ids stay below 2^21
      let pair = pairs.get(key);
      if (pair === undefined) pairs.set(key, (pair = { left, right, count: 0, words: [] }));
      pair.count += times;
      if (sign < 0 || (born !== undefined && left !== born && right !== born)) continue;
      if (pair.words.at(-1) !== word) pair.words.push(word);
      grown.add(pair);
    }
  };
  const pushGrown = (): void => {
    for (const pair of grown) if (pair.count >= leastCount) heap.push({ count: pair.count, pair });
    grown.clear();
  };
  for (let word = 0; word < symbols.length; word++) count(word, 1);
  pushGrown();

  const report = createReporter("merges", wanted - tokens.length, options);
  while (tokens.length < wanted) {
    const top = heap.pop();
    if (top === undefined) break;
    const { pair } = top;
    if (top.count !== pair.count) {
      if (pair.count >= leastCount) heap.push({ count: pair.count, pair });
      continue;
    }
    // Two pairs that spell one token ("ab"+"c", "a"+"bc") would share its id, as in Hugging Face's trainer; none is known.
    const token = `${tokens[pair.left]}${tokens[pair.right]}`;
    const id = idOf.get(token) ?? tokens.push(token) - 1;
    idOf.set(token, id);
    merges.push(`${tokens[pair.left]} ${tokens[pair.right]}`);
    for (const word of new Set(pair.words.splice(0))) {
      const spelling = symbols[word]!;
      const merged = mergePair(spelling, pair, id);
      if (merged.length === spelling.length) continue;
      count(word, -1);
      symbols[word] = merged;
      count(word, 1, id);
    }
    pushGrown();
    await report(merges.length);
  }
  return { tokens, merges };
}

/** More frequent first; ties go to the smaller left id, then to the smaller right id: the rule of Hugging Face's trainer. */
function comesBefore(a: { count: number; pair: Pair }, b: { count: number; pair: Pair }): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return a.pair.left !== b.pair.left ? a.pair.left < b.pair.left : a.pair.right < b.pair.right;
}

function spellWords(wordCounts: ReadonlyMap<string, number>, idOf: ReadonlyMap<string, number>) {
  const encoder = new TextEncoder();
  const idOfByte = characterOfByte.map((character) => idOf.get(character) ?? 0);
  const symbols: number[][] = [];
  const occurrences: number[] = [];
  for (const [word, times] of wordCounts) {
    symbols.push(Array.from(encoder.encode(word), (byte) => idOfByte[byte] ?? 0));
    occurrences.push(times);
  }
  return { symbols, occurrences };
}

/** `spelling` with the pair replaced from left to right: "aaa" with (a,a) becomes "A a". */
function mergePair(spelling: readonly number[], { left, right }: Pair, id: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < spelling.length; i++) {
    const here = spelling[i]!;
    const isPair = here === left && spelling[i + 1] === right;
    merged.push(isPair ? id : here);
    if (isPair) i++;
  }
  return merged;
}

/** The vocabulary is written by hand, to be in the order of its ids: an object would put the digits first. */
function tokenizerJson(learned: readonly string[], specials: readonly string[], merges: readonly string[]): string {
  const tokens = [...learned, ...specials];
  const vocabulary = tokens.map((token, id) => `      ${JSON.stringify(token)}: ${id}`).join(",\n");
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: true };
  const model = {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: "VOCABULARY",
    merges,
  };
  const definition = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, i) => ({ id: learned.length + i, content, ...flags })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: specials.length === 1 ? byteLevel : encoderPostProcessor(tokens),
    decoder: byteLevel,
    model,
  };
  // The first such string: merges come later, and each has a space.
  const json = JSON.stringify(definition, null, 2).replace('"VOCABULARY"', () => `{\n${vocabulary}\n    }`);
  return `${json}\n`;
}

/** [CLS] A [SEP], and [CLS] A [SEP] B [SEP] for a pair. */
function encoderPostProcessor(tokens: readonly string[]): object {
  const { cls, sep } = encoderTokens;
  const special = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
  const text = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
  const single = [special(cls, 0), text("A", 0), special(sep, 0)];
  return {
    type: "TemplateProcessing",
    single,
    pair: [...single, text("B", 1), special(sep, 1)],
    special_tokens: Object.fromEntries([cls, sep].map((id) => [id, { id, ids: [tokens.indexOf(id)], tokens: [id] }])),
  };
}
