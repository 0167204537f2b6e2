// From a config to samples where the data says what to answer: lines of JSONL become examples of the task, examples become
// samples, some of them kept for validation. What took long is cached by content. Text without answers is text.ts.

import { createHash } from "node:crypto";
import { RingtuneError } from "../../common/errors.ts";
import { hasLabels, resolveTask, type ResolvedTask } from "../../common/task.ts";
import { encoderTemplate, type Tokenizer } from "../../common/tokenizer.ts";
import { specialCount } from "../../common/sequence-template.ts";
import { type Cache, createCache } from "./cache.ts";
import { createClassification, labelValues } from "./classification.ts";
import { divideDocuments } from "./divide.ts";
import { createDocument, type Document } from "./document.ts";
import { createInstruction, detectFormat, withChatTemplate } from "./instruction.ts";
import { findLabels } from "./labels.ts";
import { obtainTokenizer } from "./obtain-tokenizer.ts";
import {
  describeData,
  tokenizerConfigOf,
  type DataConfig,
  type DataSummary,
  type PreparedData,
  type PrepareOptions,
} from "./prepared.ts";
import { createReporter, type ProgressOptions } from "./progress.ts";
import { listIn, loadRecords, readAll, type DataRecord } from "./records.ts";
import type { SampleMaker } from "./sample-maker.ts";
import { createSampleStore, createStoredDataset, fromCache, toCache, type StoredSamples } from "./stored-samples.ts";
import { createTagging } from "./tagging.ts";
import { invalidData } from "./utf8.ts";

/** @throws RingtuneError data_invalid, tokenizer_invalid, config_invalid; the signal's reason when it is aborted */
export async function prepareSupervised(config: DataConfig, options: PrepareOptions): Promise<PreparedData> {
  const { onNotice, model } = options;
  const { sequence_length: sequenceLength } = config.train;
  const startMs = performance.now();
  const cache = createCache(config.data.cache, onNotice);
  const { parts, task, maker, usesChatTemplate, origin, whereOf } = await readExamples(config, options);
  const tokenizer = await obtainTokenizer(config, { ...options, cache, texts: textsOf(parts.train, maker), origin });
  if (!maker.causal) assertRoom(config, tokenizer);
  const hasTypes = (model?.tokenTypes ?? 2) > 1;
  const make = (example: unknown) => {
    const made = maker.make(example, tokenizer, sequenceLength);
    return typeof made === "string" || hasTypes ? made : { ...made, types: new Uint8Array(made.ids.length) };
  };
  const key = [...origin, sequenceLength, sha256(tokenizer.json, tokenizer.configJson ?? ""), String(hasTypes)];
  const made = await obtainSamples(parts, make, cache, key, options);
  const shape = { sequenceLength, targetsPerRow: maker.targetsPerRow, padId: tokenizer.padId, causal: maker.causal };
  const sourceIn = (part: readonly unknown[]) => (i: number) => {
    // Only asked when a run fails, so what was dropped is found out again.
    const kept = part.filter((example) => typeof make(example) !== "string");
    return whereOf(kept[i]);
  };
  const train = { ...createStoredDataset(made.train, shape), sourceOf: sourceIn(parts.train) };
  const validation = { ...createStoredDataset(made.validation, shape), sourceOf: sourceIn(parts.validation) };
  const summary: DataSummary = {
    documents: { train: parts.train.length, validation: parts.validation.length },
    characters: { train: lengthOf(parts.train, maker), validation: lengthOf(parts.validation, maker) },
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
  assertKept(config, parts.train.length, made.train);
  const configJson = tokenizerConfigOf(config, tokenizer);
  return {
    train,
    validation: validation.sampleCount === 0 ? null : validation,
    tokenizer,
    task,
    tokenizerConfigJson: usesChatTemplate ? withChatTemplate(configJson) : configJson,
    summary,
  };
}

export interface Examples {
  /** In the form that `maker` reads. */
  readonly parts: Parts;
  readonly task: ResolvedTask;
  readonly maker: SampleMaker<unknown>;
  readonly usesChatTemplate: boolean;
  /** The line of an example, for sentences: "mail.jsonl:12". */
  readonly whereOf: (example: unknown) => string | undefined;
  /** What the parts are made from, for the keys of a cache. */
  readonly origin: readonly (string | number)[];
}

/** The examples of a task in their two parts, before any tokenizer. Throws data_invalid, config_invalid. */
export async function readExamples(
  config: ExampleConfig,
  options: Omit<PrepareOptions, "tokenizer">,
): Promise<Examples> {
  const { onNotice, signal, model } = options;
  const { records, digest } = await loadRecords(config.data, config.task.kind, { onNotice, signal });
  const task = resolveTask(config.task, labelsOf(config, records, model?.labels));
  const { maker, usesChatTemplate } = createMaker(config, task, records);
  const examples = readAll(records, (record) => maker.read(record));
  const { parts, origin } = await divide(examples, records, maker, config, options);
  const whereOf = (example: unknown): string | undefined => records[examples.indexOf(example)]?.where;
  return { parts, task, maker, usesChatTemplate, whereOf, origin: [digest, ...origin, ...maker.key] };
}

/** Keeps near duplicates on one side and labels in both parts, as divide.ts does: an example is a document of its texts. */
async function divide(
  examples: readonly unknown[],
  records: readonly DataRecord[],
  maker: SampleMaker<unknown>,
  config: ExampleConfig,
  options: Omit<PrepareOptions, "tokenizer">,
): Promise<{ parts: Parts; origin: readonly (string | number)[] }> {
  if (examples.length < 2 && config.data.validation_fraction > 0) {
    throw invalidData(
      `there is ${examples.length} line of data, too few to keep one for validation; give more, or set data.validation_fraction to 0`,
      { lines: examples.length },
    );
  }
  const exampleOf = new Map<Document, unknown>();
  for (const [i, example] of examples.entries()) {
    const id = records[i]?.where ?? "";
    const bytes = Buffer.from(maker.texts(example).join("\n"));
    exampleOf.set(createDocument(id, id, bytes, maker.label(example)), example);
  }
  const { train, validation, origin } = await divideDocuments([...exampleOf.keys()], config, options);
  const examplesOf = (documents: readonly Document[]): unknown[] => documents.map((one) => exampleOf.get(one));
  return { parts: { train: examplesOf(train), validation: examplesOf(validation) }, origin };
}

/** Named in the config, else those of the model's head, else those that the data has. */
function labelsOf(
  { task, data }: ExampleConfig,
  records: readonly DataRecord[],
  ofModel: readonly string[] | undefined,
): readonly string[] {
  if (!hasLabels(task)) return [];
  const named = task.labels ?? ofModel;
  if (named !== undefined) return named;
  const values = readAll(records, (record) =>
    task.kind === "tagging" ? listIn(record, data.tags_field) : labelValues(record, data, task.multi_label),
  );
  return findLabels(values.flat());
}

function createMaker(
  { data }: ExampleConfig,
  task: ResolvedTask,
  records: readonly DataRecord[],
): { maker: SampleMaker<unknown>; usesChatTemplate: boolean } {
  switch (task.kind) {
    case "classification":
      return { maker: createClassification(task, data), usesChatTemplate: false };
    case "tagging":
      return { maker: createTagging(task, data), usesChatTemplate: false };
    default: {
      const [format = "completion"] =
        data.format === "auto" ? readAll(records.slice(0, 1), detectFormat) : [data.format];
      return { maker: createInstruction(format), usesChatTemplate: format === "messages" };
    }
  }
}

interface MadeSamples {
  readonly train: StoredSamples;
  readonly validation: StoredSamples;
  /** Tokens per second; undefined when they came from the cache. */
  readonly perSecond: number | undefined;
}

type ExampleConfig = Pick<DataConfig, "task" | "data" | "train">;

type Parts = Readonly<Record<"train" | "validation", readonly unknown[]>>;

async function obtainSamples(
  parts: Parts,
  make: (example: unknown) => ReturnType<SampleMaker<unknown>["make"]>,
  cache: Cache,
  key: readonly (string | number)[],
  options: ProgressOptions,
): Promise<MadeSamples> {
  const kept = await cache.read("samples", key);
  if (kept !== undefined) {
    const [train, validation] = [fromCache("train", kept), fromCache("validation", kept)];
    return { train, validation, perSecond: undefined };
  }
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
