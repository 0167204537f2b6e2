// The config.json of the model that a run goes on from, as far as the coordinator has to know it: whether it is one, and
// whether the run's task, sequences, tokenizer and labels fit it. The worker, which builds the model, checks the rest.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { labelSettings, parameterCount } from "../common/config/sizes.ts";
import { diskReason } from "../common/disk-error.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { giveHead, type HeadKind } from "../common/model-classes.ts";
import type { ResolvedTask } from "../common/task.ts";
import { readCheckpointFile } from "./store/checkpoints.ts";

const positive = z.int().min(1);

/** What all architectures but GPT-2 have; the worker knows the rest of them. */
const anySchema = z.looseObject({
  model_type: z.string(),
  vocab_size: positive,
  max_position_embeddings: positive,
  sliding_window: positive.nullish(),
  pad_token_id: z.int().min(0).nullish(),
});

const gpt2Schema = z.looseObject({
  model_type: z.literal("gpt2"),
  vocab_size: positive,
  n_positions: positive,
  n_embd: positive,
  n_layer: positive,
  n_head: positive,
});

/** Offsets in the flat parameter buffers are signed 32-bit numbers in places. */
const MAX_PARAMETERS = 0x7fff_ffff;

export interface ModelConfig {
  readonly path: string;
  /** With the head of the run's task. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Longest sequence that it can compute. */
  readonly positions: number;
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** How many token types it tells apart; 0 or 1 when it tells none apart. */
  readonly tokenTypes: number;
  /** The labels of its head, when it had that head already and they have names. */
  readonly labels: readonly string[] | undefined;
  /** Number of labels of a head that it had already. */
  readonly labelCount: number | undefined;
  /** Sentences about what starts anew. */
  readonly notices: readonly string[];
}

/**
 * Reads config.json of a model directory, or of a checkpoint, whose digest is verified, and gives it `head`.
 * Throws `checkpoint_invalid` when it can't be read, `model_mismatch` when it is not the config of a model, or of one that
 * can't have that head.
 */
export async function readModelConfig(
  folder: string,
  kind: "model" | "checkpoint",
  head: HeadKind,
): Promise<ModelConfig> {
  const path = join(folder, "config.json");
  const text = kind === "checkpoint" ? await readCheckpointFile(folder, "config.json") : await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const what = `${path} is ${text.length} characters that are not JSON (${describeError(cause)})`;
    throw new RingtuneError("checkpoint_invalid", `${what}; it is corrupt or truncated, get it anew`, { cause });
  }
  const { json, isNew } = isObject(value) ? giveHead(value, head, path) : { json: {}, isNew: false };
  const found = describeModel(value);
  if ("problems" in found) {
    const sentence = `${path} does not describe a model that can be trained: ${found.problems.join("; ")}`;
    throw new RingtuneError("model_mismatch", sentence);
  }
  const headNotice = `${path} has no ${head} head; a new one starts from the seed`;
  const notices = isNew ? [headNotice] : [];
  return { path, json, ...found, ...(isNew ? noLabels : labelsOf(json)), notices };
}

/** Throws `config_invalid` or `tokenizer_invalid`, with both numbers. */
export function assertFits(model: ModelConfig, run: { sequenceLength: number; vocabSize?: number }): void {
  const { sequenceLength, vocabSize = 0 } = run;
  if (sequenceLength > model.positions) {
    throw new RingtuneError(
      "config_invalid",
      `train.sequence_length: ${sequenceLength} is longer than the ${model.positions} positions of the model of ${model.path}; use at most ${model.positions}`,
    );
  }
  if (vocabSize > model.vocabSize) {
    throw new RingtuneError(
      "tokenizer_invalid",
      `the tokenizer has ${vocabSize} tokens, but the model of ${model.path} embeds ${model.vocabSize}; use the model's own tokenizer`,
    );
  }
}

/**
 * The config.json of the run: the model's, with the labels of `task`. Throws `model_mismatch` when the model has a head for
 * other labels, with both lists.
 */
export function completeModelConfig(model: ModelConfig, task: ResolvedTask): Readonly<Record<string, unknown>> {
  const { labels } = task;
  const count = model.labelCount ?? labels.length;
  const renamed = model.labels?.some((label, i) => label !== labels[i]) ?? false;
  if (labels.length > 0 && (count !== labels.length || renamed)) {
    const own = model.labels === undefined ? `${count} labels` : `the ${count} labels ${model.labels.join(", ")}`;
    throw new RingtuneError(
      "model_mismatch",
      `the head of ${model.path} has ${own}, the task the ${labels.length} labels ${labels.join(", ")}; leave out task.labels, or start from a model without that head`,
      { details: { model: count, task: labels.length } },
    );
  }
  return { ...model.json, ...labelSettings(task) };
}

const noLabels = { labels: undefined, labelCount: undefined };

/** transformers calls labels that nobody has named LABEL_0, LABEL_1 and so on, and has two when nothing is said. */
function labelsOf(json: Readonly<Record<string, unknown>>): Pick<ModelConfig, "labels" | "labelCount"> {
  const { id2label, num_labels: count, architectures } = json;
  const named = Array.isArray(architectures) ? architectures.map(String) : [];
  if (!named.some((name) => /For(Sequence|Token)Classification$/.test(name))) return noLabels;
  if (!isObject(id2label)) return { labels: undefined, labelCount: typeof count === "number" ? count : 2 };
  const labels = Object.keys(id2label).map((_, id) => {
    const label = id2label[String(id)];
    return typeof label === "string" ? label : `LABEL_${id}`;
  });
  const isNamed = labels.some((label, id) => label !== `LABEL_${id}`);
  return { labels: isNamed ? labels : undefined, labelCount: labels.length };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "there is no such file" : (diskReason(cause) ?? describeError(cause));
    throw new RingtuneError(
      "checkpoint_invalid",
      `cannot read the model's ${path}: ${why}; model.from names a folder with config.json, model.safetensors and tokenizer.json`,
      { cause },
    );
  }
}

type Description = Pick<ModelConfig, "positions" | "vocabSize" | "tokenTypes">;

function describeModel(value: unknown): Description | { problems: string[] } {
  const type = (value as { model_type?: unknown } | null)?.model_type;
  const parsed = type === "gpt2" ? gpt2Schema.safeParse(value) : anySchema.safeParse(value);
  if (!parsed.success) return { problems: parsed.error.issues.map((issue) => describeIssue(issue, value)) };
  const { data } = parsed;
  if (isGpt2(data)) {
    const problems = shapeProblems(data);
    if (problems.length > 0) return { problems };
    return { positions: data.n_positions, vocabSize: data.vocab_size, tokenTypes: 0 };
  }
  const { model_type: modelType, type_vocab_size: types } = data;
  const isEncoder = /^(bert|roberta|xlm-roberta)$/.test(modelType);
  const tokenTypes = isEncoder ? (typeof types === "number" ? types : 2) : 0;
  return { positions: positionsOf(data), vocabSize: data.vocab_size, tokenTypes };
}

function positionsOf(data: z.output<typeof anySchema>): number {
  const { model_type: modelType, max_position_embeddings: positions, pad_token_id: padId } = data;
  // RoBERTa counts its positions from behind the padding token.
  if (/roberta$/.test(modelType)) return positions - (padId ?? 1) - 1;
  // Mistral looks back no further than its window, which is 4096 tokens unless the config says otherwise.
  const window = modelType === "mistral" && data.sliding_window === undefined ? 4096 : data.sliding_window;
  const windowed = modelType === "mistral" || data["use_sliding_window"] === true;
  return Math.min(positions, (windowed ? window : null) ?? positions);
}

function isGpt2(data: z.output<typeof gpt2Schema> | z.output<typeof anySchema>): data is z.output<typeof gpt2Schema> {
  return data.model_type === "gpt2";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shapeProblems(config: z.output<typeof gpt2Schema>): string[] {
  const { n_embd: hidden, n_head: heads, n_layer: layers, n_positions: positions, vocab_size: vocabulary } = config;
  if (hidden % heads !== 0) return [`n_head ${heads} does not divide n_embd ${hidden}`];
  const parameters = parameterCount({ layers, hidden, heads, positions }, vocabulary);
  if (parameters <= MAX_PARAMETERS) return [];
  return [`it has ${(parameters / 1e9).toFixed(1)} billion parameters, the most is 2.1 billion`];
}

function describeIssue(issue: z.core.$ZodIssue, value: unknown): string {
  const key = issue.path.map(String).join(".");
  if (key === "") return `it holds ${Array.isArray(value) ? "a list" : value === null ? "null" : `a ${typeof value}`}`;
  const found = (value as Record<string, unknown>)[key];
  if (found === undefined) return `${key} is missing`;
  return `${key} is ${JSON.stringify(found)}, not ${key === "model_type" ? "a name" : "a whole number of at least 1"}`;
}
