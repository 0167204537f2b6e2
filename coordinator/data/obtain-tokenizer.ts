// Which tokenizer a run uses: its own when it is resumed, the one that the config names, the one of the model that it
// starts from, or a byte-level BPE trained on the training documents, once.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import { loadTokenizer, parseTokenizer, type Tokenizer } from "../../common/tokenizer.ts";
import { headOf } from "../../common/task.ts";
import { encoderTokens } from "../../common/tokenizer-definition.ts";
import { trainBpe, type ModelSide } from "./bpe.ts";
import type { Cache } from "./cache.ts";
import type { ProgressOptions } from "./progress.ts";

export interface TokenizerFiles {
  /** Contents of tokenizer.json. */
  readonly json: string;
  /** Contents of tokenizer_config.json. */
  readonly configJson?: string | undefined;
  /** Where they were read, for errors. */
  readonly source: string;
}

export interface ObtainOptions extends ProgressOptions {
  readonly onNotice: (line: string) => void;
  readonly tokenizer?: TokenizerFiles | undefined;
  readonly cache: Cache;
  /** The training documents. */
  readonly texts: Iterable<string>;
  /** What the texts are made from: with the vocabulary's size, the key of a trained tokenizer. */
  readonly origin: readonly (string | number)[];
}

/** @throws RingtuneError tokenizer_invalid */
export async function obtainTokenizer(
  config: Pick<Config, "tokenizer" | "model" | "task">,
  options: ObtainOptions,
): Promise<Tokenizer> {
  if (options.tokenizer !== undefined) return parseTokenizer(options.tokenizer);
  const from = config.tokenizer.from ?? (await besideModel(config.model.from));
  if (from === undefined) return trainedTokenizer(config.tokenizer.vocab_size, sideOf(config), options);
  const tokenizer = await loadTokenizer(from);
  options.onNotice(`tokenizer: ${tokenizer.vocabSize} tokens from ${from}`);
  return tokenizer;
}

/** What a tokenizer of our own is for. */
export function sideOf({ task }: Pick<Config, "task">): ModelSide {
  return headOf(task.kind) === "causal-lm" ? "decoder" : "encoder";
}

async function besideModel(folder: string | undefined): Promise<string | undefined> {
  if (folder === undefined) return undefined;
  const path = join(folder, "tokenizer.json");
  if ((await stat(path).catch(() => undefined)) !== undefined) return path;
  throw new RingtuneError(
    "tokenizer_invalid",
    `the model ${folder} holds no tokenizer.json, and a new tokenizer does not fit its weights; set tokenizer.from to the model's tokenizer`,
    { details: { folder } },
  );
}

async function trainedTokenizer(vocabSize: number, side: ModelSide, options: ObtainOptions): Promise<Tokenizer> {
  const { cache, origin, texts, onNotice } = options;
  const key = [...origin, vocabSize, side];
  const kept = (await cache.read("tokenizer", key))?.sections["tokenizer.json"];
  if (kept !== undefined) {
    const tokenizer = parseTokenizer({ json: Buffer.from(kept).toString("utf8"), source: "from the cache" });
    onNotice(describeTrained(tokenizer.vocabSize, vocabSize, "from the cache"));
    return tokenizer;
  }
  const startMs = performance.now();
  const { json } = await trainBpe(texts, { ...options, vocabSize, side });
  const tokenizer = parseTokenizer({ json, source: "just trained" });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  onNotice(describeTrained(tokenizer.vocabSize, vocabSize, `trained in ${seconds} s`));
  await cache.write("tokenizer", key, { facts: {}, sections: { "tokenizer.json": Buffer.from(json) } });
  return tokenizer;
}

/** Says so when the vocabulary is smaller than asked: "tokenizer: 812 tokens instead of 4096 (...)". */
export function describeTrained(vocabSize: number, wanted: number, how: string): string {
  return vocabSize === wanted
    ? `tokenizer: ${vocabSize} tokens, ${how}`
    : `tokenizer: ${vocabSize} tokens instead of ${wanted}, ${how}: no more pairs occur twice in the training documents`;
}

/** Contents of tokenizer_config.json with which AutoTokenizer of Hugging Face reads a tokenizer.json of ours. */
export function newTokenizerConfig(eosToken: string, modelMaxLength: number, side: ModelSide): string {
  const { pad, cls, sep, mask } = encoderTokens;
  const specials =
    side === "decoder"
      ? { bos_token: eosToken, eos_token: eosToken, unk_token: eosToken }
      : { cls_token: cls, mask_token: mask, pad_token: pad, sep_token: sep };
  const config = {
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    model_max_length: modelMaxLength,
    ...specials,
    tokenizer_class: "PreTrainedTokenizerFast",
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
