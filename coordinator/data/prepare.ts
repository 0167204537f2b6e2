// From a config to samples: documents are read and split, a tokenizer is found or trained, text becomes tokens. What took
// long is cached by content, so a second start only reads and checks. The order of samples is the sampler's.

import { createHash } from "node:crypto";
import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import { resolveTask, type ResolvedTask } from "../../common/task.ts";
import type { Tokenizer } from "../../common/tokenizer.ts";
import type { ModelConfig } from "../model-config.ts";
import { type Cache, createCache } from "./cache.ts";
import { createTokenDataset, createTokenRow, type TokenDataset, type Tokens } from "./dataset.ts";
import { divideDocuments } from "./divide.ts";
import { type Document, textsOf } from "./document.ts";
import { loadDocuments } from "./documents.ts";
import { obtainTokenizer, tokenizerConfigJson, type TokenizerFiles } from "./obtain-tokenizer.ts";
import { createReporter, type ProgressOptions } from "./progress.ts";

export interface PrepareOptions extends ProgressOptions {
  /** Plain lines for the user: what was kept, left out, trained, found in the cache. */
  readonly onNotice: (line: string) => void;
  /** The run's own tokenizer when it is resumed; it takes the place of the config's. */
  readonly tokenizer?: TokenizerFiles | undefined;
  /** The model that the run goes on from: its labels are the task's unless the config names others. */
  readonly model?: Pick<ModelConfig, "labels" | "tokenTypes"> | undefined;
}

export interface PreparedData {
  readonly train: TokenDataset;
  /** Null when data.validation_fraction is 0. */
  readonly validation: TokenDataset | null;
  readonly tokenizer: Tokenizer;
  /** What is learned, with the labels that were named or found. */
  readonly task: ResolvedTask;
  /** Contents of tokenizer_config.json for the run directory; `tokenizer.json` is the other file. */
  readonly tokenizerConfigJson: string;
  readonly summary: DataSummary;
}

interface PerPart {
  readonly train: number;
  readonly validation: number;
}

export interface DataSummary {
  readonly documents: PerPart;
  /** UTF-16 units, as JavaScript counts them. */
  readonly characters: PerPart;
  /** Targets of one epoch. */
  readonly tokens: PerPart;
  readonly samples: PerPart;
  /** True when the tokens came from the cache. */
  readonly cached: boolean;
  readonly seconds: number;
  /** Of the tokens themselves: a resumed run must find the same one, or its samples are not those it began with. */
  readonly digest: string;
}

type DataConfig = Pick<Config, "task" | "data" | "tokenizer" | "train" | "model">;

/**
 * @throws RingtuneError data_invalid, tokenizer_invalid; the signal's reason when it is aborted
 */
export async function prepareData(config: DataConfig, options: PrepareOptions): Promise<PreparedData> {
  const { onNotice, signal } = options;
  if (config.task.kind !== "language-modelling") {
    throw new RingtuneError("config_invalid", `task.kind: ${config.task.kind} has no data yet in this version`);
  }
  const startMs = performance.now();
  const cache = createCache(config.data.cache, onNotice);
  const documents = await loadDocuments(config.data, { onNotice, signal });
  const { origin, ...split } = await divideDocuments(documents, config, options);

  const tokenizer = await obtainTokenizer(config, { ...options, cache, texts: textsOf(split.train), origin });
  const made = await obtainTokens(split, tokenizer, cache, origin, options);
  const train = createTokenDataset(made.train, config.train.sequence_length, tokenizer.eosId);
  const validation =
    split.validation.length === 0
      ? null
      : createTokenDataset(made.validation, config.train.sequence_length, tokenizer.eosId);

  const seconds = (performance.now() - startMs) / 1000;
  const summary: DataSummary = {
    documents: { train: split.train.length, validation: split.validation.length },
    characters: made.characters,
    tokens: { train: train.tokenCount, validation: validation?.tokenCount ?? 0 },
    samples: { train: train.sampleCount, validation: validation?.sampleCount ?? 0 },
    cached: made.perSecond === undefined,
    seconds,
    digest: made.digest,
  };
  for (const line of describe(summary, made.perSecond)) onNotice(line);
  const modelMaxLength = config.model.positions ?? config.train.sequence_length;
  return {
    train,
    validation,
    tokenizer,
    task: resolveTask(config.task, []),
    tokenizerConfigJson: tokenizer.configJson ?? tokenizerConfigJson(tokenizer.eosToken, modelMaxLength),
    summary,
  };
}

interface MadeTokens {
  readonly train: Tokens;
  readonly validation: Tokens;
  readonly characters: PerPart;
  readonly digest: string;
  /** Tokens per second; undefined when they came from the cache. */
  readonly perSecond: number | undefined;
}

async function obtainTokens(
  parts: { train: readonly Document[]; validation: readonly Document[] },
  tokenizer: Tokenizer,
  cache: Cache,
  origin: readonly (string | number)[],
  options: ProgressOptions,
): Promise<MadeTokens> {
  const key = [...origin, sha256(tokenizer.json), tokenizer.eosId];
  const digestOfTokens = (train: Tokens, validation: Tokens): string => sha256(bytesOf(train), bytesOf(validation));
  const kept = await cache.read("tokens", key);
  if (kept !== undefined) {
    const { train: trainBytes = new Uint8Array(), validation: validationBytes = new Uint8Array() } = kept.sections;
    const [train, validation] = [tokensOf(trainBytes, tokenizer), tokensOf(validationBytes, tokenizer)];
    const { trainCharacters = 0, validationCharacters = 0 } = kept.facts;
    const characters = { train: trainCharacters, validation: validationCharacters };
    return { train, validation, characters, digest: digestOfTokens(train, validation), perSecond: undefined };
  }
  const startMs = performance.now();
  const total = [...parts.train, ...parts.validation].reduce((sum, { bytes }) => sum + bytes.length, 0);
  const report = createReporter("tokens", total, options);
  const train = await encode(parts.train, tokenizer, report);
  const validation = await encode(parts.validation, tokenizer, (done) => report(train.characters + done));
  const seconds = (performance.now() - startMs) / 1000;
  const made = {
    train: train.tokens,
    validation: validation.tokens,
    characters: { train: train.characters, validation: validation.characters },
    digest: digestOfTokens(train.tokens, validation.tokens),
    perSecond: (train.tokens.length + validation.tokens.length) / seconds,
  };
  await cache.write("tokens", key, {
    facts: { trainCharacters: train.characters, validationCharacters: validation.characters },
    sections: { train: bytesOf(made.train), validation: bytesOf(made.validation) },
  });
  return made;
}

async function encode(
  documents: readonly Document[],
  tokenizer: Tokenizer,
  report: (characters: number) => Promise<void> | undefined,
): Promise<{ tokens: Tokens; characters: number }> {
  const row = createTokenRow(tokenizer);
  let characters = 0;
  for (const { text } of documents) {
    for (const segment of tokenizer.encodeSegments(text)) {
      row.push(segment.ids);
      characters += segment.characters;
      await report(characters);
    }
    row.endDocument();
  }
  return { tokens: row.finish(), characters };
}

function* describe(summary: DataSummary, perSecond: number | undefined): Generator<string> {
  const { documents, characters, tokens, cached } = summary;
  const count = (part: PerPart, what: string): string =>
    `${show(part.train)} ${what} to train on, ${show(part.validation)} to validate`;
  yield `data: ${count(documents, "documents")} (${show(characters.train + characters.validation)} characters)`;
  yield `data: ${count(tokens, "tokens")} (${cached ? "from the cache" : `${show(perSecond ?? 0)} tokens/s`})`;
}

function show(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function bytesOf(tokens: Tokens): Uint8Array {
  return new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
}

function tokensOf(bytes: Uint8Array, { vocabSize }: Tokenizer): Tokens {
  const { buffer, byteOffset, byteLength } = bytes;
  return vocabSize <= 0x1_0000
    ? new Uint16Array(buffer, byteOffset, byteLength / 2)
    : new Uint32Array(buffer, byteOffset, byteLength / 4);
}

function sha256(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}
