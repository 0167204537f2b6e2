// The lines of a task with answers as its examples, in their two parts: read, checked, labelled, divided. What samples are
// made of, and what the baseline beside a model learns from; no tokenizer has seen them.

import { hasLabels, resolveTask, type ResolvedTask } from "../../common/task.ts";
import { createClassification, labelValues } from "./classification.ts";
import { divideDocuments } from "./divide.ts";
import { createDocument, type Document } from "./document.ts";
import { createInstruction, detectFormat, type InstructionFormat } from "./instruction.ts";
import { findLabels } from "./labels.ts";
import type { DataConfig, PrepareOptions } from "./prepared.ts";
import { listIn, loadRecords, readAll, type DataRecord } from "./records.ts";
import type { SampleMaker } from "./sample-maker.ts";
import { createTagging } from "./tagging.ts";
import { invalidData } from "./utf8.ts";

export type ExampleConfig = Pick<DataConfig, "task" | "data" | "train">;

export type Parts = Readonly<Record<"train" | "validation", readonly unknown[]>>;

export interface Examples {
  /** In the form that `maker` reads. */
  readonly parts: Parts;
  readonly task: ResolvedTask;
  readonly maker: SampleMaker<unknown>;
  /** Of the lines, where the task has several. */
  readonly format: InstructionFormat | undefined;
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
  const format = formatOf(config, records);
  const maker = createMaker(config, task, format);
  const examples = readAll(records, (record) => maker.read(record));
  const { parts, origin } = await divide(examples, records, maker, config, options);
  const whereOf = (example: unknown): string | undefined => records[examples.indexOf(example)]?.where;
  return { parts, task, maker, format, whereOf, origin: [digest, ...origin, ...maker.key] };
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

/** Undefined for tasks whose lines have one form. */
function formatOf({ task, data }: ExampleConfig, records: readonly DataRecord[]): InstructionFormat | undefined {
  if (task.kind === "classification" || task.kind === "tagging") return undefined;
  const [format = "completion"] = data.format === "auto" ? readAll(records.slice(0, 1), detectFormat) : [data.format];
  return format;
}

/** `format` is of instructions. */
export function createMaker(
  { data }: ExampleConfig,
  task: ResolvedTask,
  format: InstructionFormat = "completion",
): SampleMaker<unknown> {
  switch (task.kind) {
    case "classification":
      return createClassification(task, data);
    case "tagging":
      return createTagging(task, data);
    default:
      return createInstruction(format);
  }
}
