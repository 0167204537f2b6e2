// From a config to samples of plain text: documents are read and split, a tokenizer is found or trained, text becomes tokens.
// What took long is cached by content, so a second start only reads and checks. The order of samples is the sampler's.

import { createHash } from "node:crypto";
import { RingtuneError } from "../../common/errors.ts";
import { specialCount } from "../../common/sequence-template.ts";
import { resolveTask } from "../../common/task.ts";
import { encoderTemplate, parseTokenizer, type Tokenizer } from "../../common/tokenizer.ts";
import { type Cache, createCache } from "./cache.ts";
import { createTokenDataset, createTokenRow, type Tokens } from "./dataset.ts";
import { divideDocuments } from "./divide.ts";
import { type Document, textsOf } from "./document.ts";
import { loadDocuments } from "./documents.ts";
import { createMaskedDataset } from "./masked.ts";
import { obtainTokenizer } from "./obtain-tokenizer.ts";
import {
  describeData,
  tokenizerConfigOf,
  type DataConfig,
  type DataOrigin,
  type DataSummary,
  type PerPart,
  type PreparedData,
  type PrepareOptions,
} from "./prepared.ts";
import { createReporter, type ProgressOptions } from "./progress.ts";
import type { SampleDataset } from "./samples.ts";

/**
 * @throws RingtuneError data_invalid, tokenizer_invalid; the signal's reason when it is aborted
 */
export async function prepareText(config: DataConfig, options: PrepareOptions): Promise<PreparedData> {
  const { onNotice, signal } = options;
  const startMs = performance.now();
  const cache = createCache(config.data.cache, onNotice);
  const again = await rereadText(options, cache);
  if (again !== undefined) return describeText(config, options, again, startMs);
  const documents = await loadDocuments(config.data, { onNotice, signal });
  const { origin, ...split } = await divideDocuments(documents, config, options);

  const tokenizer = await obtainTokenizer(config, { ...options, cache, texts: textsOf(split.train), origin });
  const made = await obtainTokens(split, tokenizer, cache, origin, options);
  const counts = { train: split.train.length, validation: split.validation.length };
  const from = { key: origin, documents: counts, characters: made.characters, labels: [] };
  return describeText(config, options, { tokenizer, made, from, split }, startMs);
}

interface Text {
  readonly tokenizer: Tokenizer;
  readonly made: MadeTokens;
  readonly from: DataOrigin;
  /** Undefined when they were not read. */
  readonly split: { readonly train: readonly Document[]; readonly validation: readonly Document[] } | undefined;
}

/** The tokens that a run began with, without its documents; undefined when the cache has them no more. */
async function rereadText({ made: from, tokenizer: files }: PrepareOptions, cache: Cache): Promise<Text | undefined> {
  if (from === undefined || files === undefined) return undefined;
  const tokenizer = parseTokenizer(files);
  const made = await readTokens(tokenizer, cache, from.key);
  return made && { tokenizer, made, from, split: undefined };
}

function describeText(
  config: DataConfig,
  { onNotice }: PrepareOptions,
  { tokenizer, made, from, split }: Text,
  startMs: number,
): PreparedData {
  const create = datasetMaker(config, tokenizer);
  const sourcesOf = (documents?: readonly Document[]): string[] | undefined => documents?.map(({ id }) => id);
  const train = create(made.train, "training", sourcesOf(split?.train));
  const validation =
    from.documents.validation === 0 ? null : create(made.validation, "validation", sourcesOf(split?.validation));

  const seconds = (performance.now() - startMs) / 1000;
  const summary: DataSummary = {
    documents: from.documents,
    characters: made.characters,
    tokens: { train: train.targetCount, validation: validation?.targetCount ?? 0 },
    samples: { train: train.sampleCount, validation: validation?.sampleCount ?? 0 },
    dropped: { empty: 0, tooLong: 0 },
    truncated: 0,
    inputTokens: made.train.length + (validation === null ? 0 : made.validation.length),
    cached: made.perSecond === undefined,
    seconds,
    digest: made.digest,
  };
  for (const line of describeData(summary, config, made.perSecond, "documents")) onNotice(line);
  return {
    train,
    validation,
    tokenizer,
    task: resolveTask(config.task, []),
    tokenizerConfigJson: tokenizerConfigOf(config, tokenizer),
    summary,
    origin: from,
  };
}

/** Packs tokens into samples of the task: the next token, or some tokens to fill in. */
function datasetMaker(
  { task, train }: DataConfig,
  tokenizer: Tokenizer,
): (tokens: Tokens, part: "training" | "validation", sources?: readonly string[]) => SampleDataset {
  const { sequence_length: sequenceLength, seed } = train;
  const { eosId, padId, vocabSize, maskId, specials } = tokenizer;
  if (task.kind !== "masked-lm") {
    return (tokens, _, sources) => createTokenDataset(tokens, sequenceLength, eosId, sources);
  }
  if (maskId === undefined) {
    throw new RingtuneError(
      "tokenizer_invalid",
      "the tokenizer has no token that stands for one to fill in, such as [MASK]; take that of an encoder, or leave out tokenizer.from",
    );
  }
  const template = encoderTemplate(tokenizer);
  const room = sequenceLength - specialCount(template.single);
  if (room < 2) {
    throw new RingtuneError(
      "config_invalid",
      `train.sequence_length: ${sequenceLength} leaves room for ${room} tokens beside the special ones; use at least ${sequenceLength - room + 6}`,
    );
  }
  return (tokens, part) =>
    createMaskedDataset(tokens, {
      ...{ sequenceLength, template, maskId, padId, vocabSize, seed },
      specialIds: new Set([...specials.values(), eosId]),
      probability: task.mask_probability,
      stream: `masks of ${part}`,
    });
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
  origin: Origin,
  options: ProgressOptions,
): Promise<MadeTokens> {
  const kept = await readTokens(tokenizer, cache, origin);
  if (kept !== undefined) return kept;
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
  await cache.write("tokens", keyOfTokens(origin, tokenizer), {
    facts: { trainCharacters: train.characters, validationCharacters: validation.characters },
    sections: { train: bytesOf(made.train), validation: bytesOf(made.validation) },
  });
  return made;
}

type Origin = readonly (string | number)[];

function keyOfTokens(origin: Origin, tokenizer: Tokenizer): Origin {
  return [...origin, sha256(tokenizer.json), tokenizer.eosId];
}

/** From the cache. */
async function readTokens(tokenizer: Tokenizer, cache: Cache, origin: Origin): Promise<MadeTokens | undefined> {
  const kept = await cache.read("tokens", keyOfTokens(origin, tokenizer));
  if (kept === undefined) return undefined;
  const { train: trainBytes = new Uint8Array(), validation: validationBytes = new Uint8Array() } = kept.sections;
  const [train, validation] = [tokensOf(trainBytes, tokenizer), tokensOf(validationBytes, tokenizer)];
  const { trainCharacters = 0, validationCharacters = 0 } = kept.facts;
  const characters = { train: trainCharacters, validation: validationCharacters };
  return { train, validation, characters, digest: digestOfTokens(train, validation), perSecond: undefined };
}

function digestOfTokens(train: Tokens, validation: Tokens): string {
  return sha256(bytesOf(train), bytesOf(validation));
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
