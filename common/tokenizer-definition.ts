// What a tokenizer.json must hold before it is used: the library takes it on trust, and drops text or fails far from
// the cause where parts are at odds. Only checks; nothing here encodes.

import { characterOfByte } from "./byte-level.ts";
import { describeError, RingtuneError } from "./errors.ts";

/** The name of the token between documents in tokenizers of our own making, as in GPT-2. */
export const endOfText = "<|endoftext|>";

/** The special tokens of encoders in tokenizers of our own making, in the order of their ids, as BERT names them. */
export const encoderTokens = { pad: "[PAD]", cls: "[CLS]", sep: "[SEP]", mask: "[MASK]" } as const;

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
}

export interface PreTokenizer {
  readonly type?: string;
  readonly use_regex?: boolean;
  readonly add_prefix_space?: boolean;
  /** Of a Sequence. */
  readonly pretokenizers?: readonly PreTokenizer[];
}

/** The parts of tokenizer.json that Ringtune looks at. */
export interface Definition {
  readonly added_tokens?: readonly AddedToken[];
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: PreTokenizer | null;
  readonly post_processor?: unknown;
  readonly decoder?: unknown;
  readonly model: {
    type?: string;
    vocab: Record<string, number> | [string, number][];
    merges?: (string | [string, string])[];
    unk_token?: string | null;
    fuse_unk?: boolean;
    byte_fallback?: boolean;
  };
}

const kinds = ["BPE", "WordPiece", "Unigram"];

/** All tokens with their ids. @throws RingtuneError tokenizer_invalid */
export function checkDefinition(definition: Definition, source: string): Map<string, number> {
  const { model, added_tokens: added = [] } = definition;
  if (typeof model !== "object" || model === null || typeof model.vocab !== "object" || model.vocab === null) {
    throw invalidTokenizer(source, "it has no model.vocab; is it a Hugging Face tokenizer.json?");
  }
  if (!kinds.includes(model.type ?? "")) {
    throw invalidTokenizer(source, `model.type is ${JSON.stringify(model.type)}, not one of ${kinds.join(", ")}`);
  }
  const entries: [string, unknown][] = Array.isArray(model.vocab)
    ? model.vocab.map(([token], id): [string, unknown] => [token, id])
    : Object.entries(model.vocab);
  if (!Array.isArray(added)) throw invalidTokenizer(source, "added_tokens is not a list");
  const addedEntries = (added as AddedToken[]).map((token): [string, unknown] => [token.content, token.id]);
  const vocabulary = new Map<string, number>();
  const owners = new Map<number, string>();
  for (const [token, id] of [...entries, ...addedEntries]) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > 0x7fff_ffff) {
      throw invalidTokenizer(
        source,
        `the id of token ${JSON.stringify(token)} is ${JSON.stringify(id)}, not a whole number`,
      );
    }
    const owner = owners.get(id);
    if (owner !== undefined && owner !== token) {
      throw invalidTokenizer(
        source,
        `id ${id} belongs to two tokens, ${JSON.stringify(owner)} and ${JSON.stringify(token)}`,
      );
    }
    owners.set(id, token);
    vocabulary.set(token, id);
  }
  if (vocabulary.size === 0) throw invalidTokenizer(source, "its vocabulary is empty");
  if (model.type === "BPE") checkMerges(definition, vocabulary, source);
  return vocabulary;
}

/** The library drops a token without a word when a merge makes one that has no id, or when a byte has none. */
function checkMerges(
  { model, pre_tokenizer: split }: Definition,
  vocabulary: Map<string, number>,
  source: string,
): void {
  if (!Array.isArray(model.merges)) throw invalidTokenizer(source, "model.merges is missing");
  model.merges.forEach((merge, index) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const token = Array.isArray(pair) && pair.length === 2 ? pair.join("") : undefined;
    if (token === undefined)
      throw invalidTokenizer(source, `merge ${index} is ${JSON.stringify(merge)}, not a pair of tokens`);
    if (!vocabulary.has(token)) {
      throw invalidTokenizer(source, `merge ${index} makes ${JSON.stringify(token)}, which is not in the vocabulary`);
    }
  });
  const missing = characterOfByte.filter((character) => !vocabulary.has(character)).length;
  const losesText = (model.unk_token ?? null) === null && model.byte_fallback !== true;
  if (split?.type === "ByteLevel" && missing > 0 && losesText) {
    throw invalidTokenizer(
      source,
      `it has ${256 - missing} of the 256 bytes and no unk_token, so some text would be lost`,
    );
  }
}

export function findEos(config: Record<string, unknown>, vocabulary: Map<string, number>, source: string): string {
  const wanted = nameOf(config["eos_token"]);
  if (wanted !== undefined) {
    if (vocabulary.has(wanted)) return wanted;
    throw invalidTokenizer(
      source,
      `tokenizer_config.json names ${JSON.stringify(wanted)} as eos_token, which has no id`,
    );
  }
  const usual = [endOfText, "<|end_of_text|>", "</s>", "<eos>", "[SEP]"];
  const found = usual.find((token) => vocabulary.has(token));
  if (found !== undefined) return found;
  throw invalidTokenizer(
    source,
    `it has no end-of-text token: none of ${usual.join(" ")}; name yours as eos_token in tokenizer_config.json beside it`,
  );
}

/** A special token in tokenizer_config.json: a text, or an object with its text. */
export function nameOf(token: unknown): string | undefined {
  const name = typeof token === "object" ? (token as { content?: unknown } | null)?.content : token;
  return typeof name === "string" ? name : undefined;
}

export function parseObject(json: string, source: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw invalidTokenizer(source, `it is not JSON (${describeError(error)})`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalidTokenizer(source, "it is not a JSON object");
}

export function invalidTokenizer(source: string, why: string): RingtuneError {
  return new RingtuneError("tokenizer_invalid", `tokenizer ${source}: ${why}`, { details: { source } });
}
