// From a config to samples where the data says what to answer: examples of the task (examples.ts) become samples, some
// of them kept for validation. What took long is cached by content. Text without answers is text.ts.

import { createHash } from "node:crypto";
import { RingtuneError } from "../../common/errors.ts";
import { resolveTask, type ResolvedTask } from "../../common/task.ts";
import { encoderTemplate, parseTokenizer, type Tokenizer } from "../../common/tokenizer.ts";
import { specialCount } from "../../common/sequence-template.ts";
import { type Cache, createCache } from "./cache.ts";
import { createMaker, readExamples, type Parts } from "./examples.ts";
import { withChatTemplate } from "./instruction.ts";
import { obtainTokenizer } from "./obtain-tokenizer.ts";
import {
  describeData,
  tokenizerConfigOf,
  type DataConfig,
  type DataOrigin,
  type DataSummary,
  type PreparedData,
  type PrepareOptions,
} from "./prepared.ts";
import { createReporter, type ProgressOptions } from "./progress.ts";
import type { SampleMaker } from "./sample-maker.ts";
import type { SampleDataset } from "./samples.ts";
import { createSampleStore, createStoredDataset, fromCache, toCache, type StoredSamples } from "./stored-samples.ts";
import { invalidData } from "./utf8.ts";

/** @throws RingtuneError data_invalid, tokenizer_invalid, config_invalid; the signal's reason when it is aborted */
export async function prepareSupervised(config: DataConfig, options: PrepareOptions): Promise<PreparedData> {
  const startMs = performance.now();
  const cache = createCache(config.data.cache, options.onNotice);
  const again = await rereadSamples(config, options, cache);
  if (again !== undefined) return describeSamples(config, options, again, startMs);
  const { parts, task, maker, format, origin, whereOf } = await readExamples(config, options);
  const tokenizer = await obtainTokenizer(config, { ...options, cache, texts: textsOf(parts.train, maker), origin });
  if (!maker.causal) assertRoom(config, tokenizer);
  const make = (example: unknown) => {
    const made = maker.make(example, tokenizer, config.train.sequence_length);
    return typeof made === "string" || hasTypes(options) ? made : { ...made, types: new Uint8Array(made.ids.length) };
  };
  const key = keyOfSamples(config, options, { key: origin, format }, tokenizer);
  const made = await obtainSamples(parts, make, cache, key, options);
  const sourceIn = (part: readonly unknown[]) => (i: number) => {
    // Only asked when a run fails, so what was dropped is found out again.
    const kept = part.filter((example) => typeof make(example) !== "string");
    return whereOf(kept[i]);
  };
  const from: DataOrigin = {
    key: origin,
    documents: { train: parts.train.length, validation: parts.validation.length },
    characters: { train: lengthOf(parts.train, maker), validation: lengthOf(parts.validation, maker) },
    labels: task.labels,
    format,
  };
  const sources = { train: sourceIn(parts.train), validation: sourceIn(parts.validation) };
  return describeSamples(config, options, { tokenizer, task, maker, made, from, sources }, startMs);
}

interface Supervised {
  readonly tokenizer: Tokenizer;
  readonly task: ResolvedTask;
  readonly maker: SampleMaker<unknown>;
  readonly made: MadeSamples;
  readonly from: DataOrigin;
  /** Undefined when the examples were not read. */
  readonly sources: Readonly<Record<"train" | "validation", (i: number) => string | undefined>> | undefined;
}

/** The samples that a run began with, without its lines; undefined when the cache has them no more. */
async function rereadSamples(
  config: DataConfig,
  options: PrepareOptions,
  cache: Cache,
): Promise<Supervised | undefined> {
  const { made: from, tokenizer: files } = options;
  if (from === undefined || files === undefined) return undefined;
  const tokenizer = parseTokenizer(files);
  const kept = await readSamples(cache, keyOfSamples(config, options, from, tokenizer));
  if (kept === undefined) return undefined;
  const task = resolveTask(config.task, from.labels);
  const maker = createMaker(config, task, from.format);
  return { tokenizer, task, maker, made: kept, from, sources: undefined };
}

function describeSamples(
  config: DataConfig,
  { onNotice }: PrepareOptions,
  { tokenizer, task, maker, made, from, sources }: Supervised,
  startMs: number,
): PreparedData {
  const { sequence_length: sequenceLength } = config.train;
  const shape = { sequenceLength, targetsPerRow: maker.targetsPerRow, padId: tokenizer.padId, causal: maker.causal };
  const datasetOf = (part: "train" | "validation"): SampleDataset => {
    const dataset = createStoredDataset(made[part], shape);
    return sources === undefined ? dataset : { ...dataset, sourceOf: sources[part] };
  };
  const [train, validation] = [datasetOf("train"), datasetOf("validation")];
  const summary: DataSummary = {
    documents: from.documents,
    characters: from.characters,
    tokens: { train: train.targetCount, validation: validation.targetCount },
    samples: { train: train.sampleCount, validation: validation.sampleCount },
    dropped: {
      empty: made.train.empty + made.validation.empty,
      tooLong: made.train.tooLong + made.validation.tooLong,
    },
    truncated: made.train.truncated + made.validation.truncated,
    inputTokens: made.train.ids.length + made.validation.ids.length,
    cached: made.perSecond === undefined,
    seconds: (performance.now() - startMs) / 1000,
    digest: sha256(...[made.train, made.validation].flatMap((part) => Object.values(toCache("", part).sections))),
  };
  for (const line of describeData(summary, config, made.perSecond, "lines")) onNotice(line);
  if (task.labels.length > 0) onNotice(describeLabels(task.labels));
  assertKept(config, from.documents.train, made.train);
  return {
    train,
    validation: validation.sampleCount === 0 ? null : validation,
    tokenizer,
    task,
    tokenizerConfigJson: configJsonOf(config, tokenizer, from.format),
    summary,
    origin: from,
  };
}

interface MadeSamples {
  readonly train: StoredSamples;
  readonly validation: StoredSamples;
  /** Tokens per second; undefined when they came from the cache. */
  readonly perSecond: number | undefined;
}

/** Whether the model tells one text of a pair from the other. */
function hasTypes({ model }: PrepareOptions): boolean {
  return (model?.tokenTypes ?? 2) > 1;
}

/** The same for the first start of a run, and for those that find its tokenizer in the run directory. */
function keyOfSamples(
  config: DataConfig,
  options: PrepareOptions,
  { key, format }: Pick<DataOrigin, "key" | "format">,
  tokenizer: Tokenizer,
): readonly (string | number)[] {
  const files = sha256(tokenizer.json, configJsonOf(config, tokenizer, format));
  return [...key, config.train.sequence_length, files, String(hasTypes(options))];
}

/** As it is written to the run directory. */
function configJsonOf(config: DataConfig, tokenizer: Tokenizer, format: DataOrigin["format"]): string {
  const json = tokenizerConfigOf(config, tokenizer);
  return format === "messages" ? withChatTemplate(json) : json;
}

/** From the cache. */
async function readSamples(cache: Cache, key: readonly (string | number)[]): Promise<MadeSamples | undefined> {
  const kept = await cache.read("samples", key);
  return kept && { train: fromCache("train", kept), validation: fromCache("validation", kept), perSecond: undefined };
}

async function obtainSamples(
  parts: Parts,
  make: (example: unknown) => ReturnType<SampleMaker<unknown>["make"]>,
  cache: Cache,
  key: readonly (string | number)[],
  options: ProgressOptions,
): Promise<MadeSamples> {
  const kept = await readSamples(cache, key);
  if (kept !== undefined) return kept;
  const startMs = performance.now();
  const total = parts.train.length + parts.validation.length;
  const report = createReporter("samples", total, options);
  let done = 0;
  const encode = async (examples: readonly unknown[]): Promise<StoredSamples> => {
    const store = createSampleStore();
    for (const example of examples) {
      store.add(make(example));
      await report(++done);
    }
    return store.finish();
  };
  const [train, validation] = [await encode(parts.train), await encode(parts.validation)];
  const seconds = (performance.now() - startMs) / 1000;
  const [first, second] = [toCache("train", train), toCache("validation", validation)];
  await cache.write("samples", key, {
    facts: { ...first.facts, ...second.facts },
    sections: { ...first.sections, ...second.sections },
  });
  return { train, validation, perSecond: (train.ids.length + validation.ids.length) / seconds };
}

function* textsOf(examples: readonly unknown[], maker: SampleMaker<unknown>): Generator<string> {
  for (const example of examples) yield* maker.texts(example);
}

function lengthOf(examples: readonly unknown[], maker: SampleMaker<unknown>): number {
  let length = 0;
  for (const text of textsOf(examples, maker)) length += text.length;
  return length;
}

/** An encoder's sequence holds its special tokens and at least one other. */
function assertRoom({ train, data }: DataConfig, tokenizer: Tokenizer): void {
  const { single, pair } = encoderTemplate(tokenizer);
  const specials = specialCount(data.pair_field === undefined ? single : pair);
  if (train.sequence_length > specials) return;
  throw new RingtuneError(
    "config_invalid",
    `train.sequence_length: ${train.sequence_length} leaves no room for text beside the ${specials} special tokens of the tokenizer; use at least ${specials + 6}`,
    { details: { sequenceLength: train.sequence_length, specials } },
  );
}

function assertKept({ train }: DataConfig, lines: number, { starts, empty, tooLong }: StoredSamples): void {
  if (starts.length > 1) return;
  throw invalidData(
    `none of ${lines} lines gives a sample to train on: ${empty} are empty and ${tooLong} have an answer longer than train.sequence_length ${train.sequence_length}`,
    { lines, empty, tooLong },
  );
}

const labelsNamed = 12;

function describeLabels(labels: readonly string[]): string {
  const more = labels.length > labelsNamed ? ` and ${labels.length - labelsNamed} more` : "";
  return `data: ${labels.length} labels: ${labels.slice(0, labelsNamed).join(", ")}${more}`;
}

function sha256(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}
