// Text to tokens and back, for any tokenizer.json of Hugging Face: the one file that knows @huggingface/tokenizers.
// It checks what the library takes on trust, keeps the pieces of byte-level BPE that were seen before, and never turns
// the user's text into a special token. Not the trainer: that is coordinator/data/bpe.ts.

import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Tokenizer as UntypedLibrary } from "@huggingface/tokenizers";
import { detached, segmentsOf, splitWords } from "./byte-level.ts";
import { describeError } from "./errors.ts";
import { bertTemplate, readTemplate, type SequenceTemplate } from "./sequence-template.ts";
import {
  checkDefinition,
  type Definition,
  findEos,
  invalidTokenizer,
  nameOf,
  parseObject,
} from "./tokenizer-definition.ts";

export interface Tokenizer {
  /**
   * Token ids of `text`; nothing is added before or after. A special token's name in the text ("<|endoftext|>") is
   * ordinary text: only code puts special tokens into a sequence, by id.
   */
  encode(text: string): number[];
  /** Token ids of a word of a list of words, as it stands inside a text: behind a space where the tokenizer sees one. */
  encodeWord(word: string): number[];
  /** As `encode`, a stretch at a time: joined, the ids are what `encode` gives. For text of any size. */
  encodeSegments(text: string): Iterable<EncodedSegment>;
  /** Text of `ids`. Special tokens come out as their names, ids without a token as nothing, broken UTF-8 as U+FFFD. */
  decode(ids: ArrayLike<number>): string;
  /** One more than the largest id: the number of rows that the embedding needs. */
  readonly vocabSize: number;
  /** The token between documents, and at the end of generated text. */
  readonly eosId: number;
  readonly eosToken: string;
  /** The token that fills rows up: the end of text where there is none. What it fills is masked. */
  readonly padId: number;
  /** The token that stands for one to fill in; undefined in tokenizers of decoders. */
  readonly maskId: number | undefined;
  /** Ids of all special tokens by their names. */
  readonly specials: ReadonlyMap<string, number>;
  /** The special tokens that it puts around a text; undefined when it puts none. */
  readonly template: SequenceTemplate | undefined;
  /** tokenizer.json, as it was read. */
  readonly json: string;
  /** tokenizer_config.json, as it was read, if there was one. */
  readonly configJson: string | undefined;
}

/** The library's types do not resolve under NodeNext (they import without extensions), so what is used of it is stated here. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
}
const Library = UntypedLibrary as unknown as new (definition: object, config: object) => Library;

export interface EncodedSegment {
  readonly ids: number[];
  /** Length of the text that the ids stand for. */
  readonly characters: number;
}

export interface TokenizerText {
  readonly json: string;
  readonly configJson?: string | undefined;
  /** Named in errors: a path, or "the trained tokenizer". */
  readonly source: string;
}

/**
 * Reads tokenizer.json, or a folder that holds one, with tokenizer_config.json beside it if there is one.
 * @throws RingtuneError tokenizer_invalid
 */
export async function loadTokenizer(path: string): Promise<Tokenizer> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) throw invalidTokenizer(path, "there is no such file or folder");
  const file = info.isDirectory() ? join(path, "tokenizer.json") : path;
  const json = await readFile(file, "utf8").catch((error: unknown) => {
    throw invalidTokenizer(
      path,
      `cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? describeError(error)}`,
    );
  });
  const configJson = await readFile(join(dirname(file), "tokenizer_config.json"), "utf8").catch(() => undefined);
  return parseTokenizer({ json, configJson, source: file });
}

/**
 * The tokenizer that `json` describes.
 * @throws RingtuneError tokenizer_invalid: not JSON, parts missing or at odds with each other, no end-of-text token
 */
export function parseTokenizer({ json, configJson, source }: TokenizerText): Tokenizer {
  const definition = parseObject(json, source) as unknown as Definition;
  const config = configJson === undefined ? {} : parseObject(configJson, `${source} (tokenizer_config.json)`);
  const vocabulary = checkDefinition(definition, source);
  const eosToken = findEos(config, vocabulary, source);
  const eosId = vocabulary.get(eosToken) ?? 0;
  const idOf = (key: string, usual: readonly string[]): number | undefined => {
    const name = [nameOf(config[key]), ...usual].find((token) => token !== undefined && vocabulary.has(token));
    return name === undefined ? undefined : vocabulary.get(name);
  };

  // Special tokens are left out of what encodes, so that their names in the user's text are nothing special.
  const added = definition.added_tokens ?? [];
  const plain = createLibrary({ ...definition, added_tokens: added.filter((token) => token.special !== true) });
  let whole: Library | undefined;
  function createLibrary(value: Definition): Library {
    try {
      const { normalizer = null, pre_tokenizer = null, post_processor = null, decoder = null, ...rest } = value;
      return new Library({ ...rest, normalizer, pre_tokenizer, post_processor, decoder }, config);
    } catch (error) {
      throw invalidTokenizer(source, `it cannot be used: ${describeError(error)}`);
    }
  }

  const throughLibrary = (text: string): number[] =>
    plain.encode(text, { add_special_tokens: false }).ids.map((id) => {
      if (id !== undefined) return id;
      throw invalidTokenizer(
        source,
        `it has no token for a part of ${JSON.stringify(text.slice(0, 40))} and no unk_token`,
      );
    });
  const encodeSegments = splitsLikeGpt2(definition, config)
    ? encodeByWords(throughLibrary)
    : encodeWhole(throughLibrary);
  const known = new Set(vocabulary.values());
  const encode = (text: string): number[] => [...encodeSegments(text)].flatMap(({ ids }) => ids);
  const wordPrefix = seesSpaces(definition.pre_tokenizer) ? " " : "";
  return {
    encodeSegments,
    encode,
    encodeWord: (word) => encode(wordPrefix + word),
    decode(ids) {
      const some = Array.from(ids).filter((id) => known.has(id));
      if (some.length === 0) return "";
      whole ??= createLibrary(definition);
      return whole.decode(some, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    },
    vocabSize: [...known].reduce((largest, id) => Math.max(largest, id), -1) + 1,
    eosId,
    eosToken,
    padId: idOf("pad_token", ["[PAD]", "<pad>"]) ?? eosId,
    maskId: idOf("mask_token", ["[MASK]", "<mask>"]),
    specials: new Map(added.filter(({ special }) => special === true).map(({ content, id }) => [content, id])),
    template: readTemplate(definition.post_processor),
    json,
    configJson,
  };
}

/** What an encoder reads: the tokenizer's own template, or the end of text around every text when it has none. */
export function encoderTemplate({ template, eosId }: Pick<Tokenizer, "template" | "eosId">): SequenceTemplate {
  return template ?? bertTemplate(eosId, eosId);
}

/** A byte-level pre-tokenizer that adds no space of its own: "word" and " word" are different tokens. */
function seesSpaces(split: Definition["pre_tokenizer"]): boolean {
  if (split?.type === "Sequence") return split.pretokenizers?.some(seesSpaces) ?? false;
  return split?.type === "ByteLevel" && split.add_prefix_space !== true;
}

const longestKept = 64; // characters of a word
const mostKept = 1 << 19; // words

function splitsLikeGpt2(definition: Definition, config: Record<string, unknown>): boolean {
  const { pre_tokenizer: split, model, added_tokens: added = [], normalizer = null } = definition;
  return (
    split?.type === "ByteLevel" &&
    split.use_regex !== false &&
    split.add_prefix_space !== true &&
    normalizer === null &&
    model.type === "BPE" &&
    model.fuse_unk !== true &&
    added.every((token) => token.special === true) &&
    config["remove_space"] !== true &&
    config["do_lowercase_and_remove_accent"] !== true
  );
}

/** BPE never merges over a word's end: words are encoded once each and remembered, which is some 10 times faster. */
function encodeByWords(encodeWord: (word: string) => number[]): (text: string) => Iterable<EncodedSegment> {
  const kept = new Map<string, number[]>();
  const idsOf = (word: string): number[] => {
    const before = kept.get(word);
    if (before !== undefined) return before;
    const ids = encodeWord(word);
    if (word.length <= longestKept) {
      if (kept.size >= mostKept) kept.clear();
      kept.set(detached(word), ids);
    }
    return ids;
  };
  return function* (text) {
    for (const segment of segmentsOf(text)) {
      const ids: number[] = [];
      for (const word of splitWords(segment)) for (const id of idsOf(word)) ids.push(id);
      yield { ids, characters: segment.length };
    }
  };
}

function encodeWhole(encode: (text: string) => number[]): (text: string) => Iterable<EncodedSegment> {
  return function* (text) {
    if (text.length > 0) yield { ids: encode(text), characters: text.length };
  };
}
