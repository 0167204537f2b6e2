// The config.json of the model that a run goes on from, as far as the coordinator has to know it: whether it is one, and
// whether the run's sequences and tokenizer fit it. The worker, which builds the model, checks the rest.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { parameterCount } from "../common/config/sizes.ts";
import { diskReason } from "../common/disk-error.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { readModelKind } from "../common/model-classes.ts";
import { readCheckpointFile } from "./store/checkpoints.ts";

const positive = z.int().min(1);

/** What all architectures but GPT-2 have; the worker knows the rest of them. */
const anySchema = z.looseObject({
  model_type: z.string(),
  vocab_size: positive,
  max_position_embeddings: positive,
  sliding_window: positive.nullish(),
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
  readonly json: string;
  readonly positions: number;
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** Sentences about what of it is not used. */
  readonly notices: readonly string[];
}

/**
 * Reads config.json of a model directory, or of a checkpoint, whose digest is verified.
 * Throws `checkpoint_invalid` when it can't be read, `model_mismatch` when it is not the config of a model.
 */
export async function readModelConfig(folder: string, kind: "model" | "checkpoint"): Promise<ModelConfig> {
  const path = join(folder, "config.json");
  const json = kind === "checkpoint" ? await readCheckpointFile(folder, "config.json") : await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    const what = `${path} is ${json.length} characters that are not JSON (${describeError(cause)})`;
    throw new RingtuneError("checkpoint_invalid", `${what}; it is corrupt or truncated, get it anew`, { cause });
  }
  if (typeof value === "object" && value !== null) assertLanguageModel(value, path);
  const found = describeModel(value);
  if ("problems" in found) {
    const sentence = `${path} does not describe a model that can be trained: ${found.problems.join("; ")}`;
    throw new RingtuneError("model_mismatch", sentence);
  }
  return { path, json, ...found, notices: dropoutNotices(path, value as object) };
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

/** The data of a run is text to go on with, so far; classes and tags have no place in it. */
function assertLanguageModel(value: object, path: string): void {
  const { modelType, head } = readModelKind(value, path);
  if (head === "causal-lm") return;
  throw new RingtuneError(
    "model_mismatch",
    `${path} describes a ${modelType} with a ${head} head; a run trains causal language models in this version`,
    { details: { path, head } },
  );
}

/** Training with dropout does not exist yet, so what a config says about it has no effect. */
function dropoutNotices(path: string, json: object): string[] {
  const rates = Object.entries(json).filter(
    ([key, value]) => /dropout|pdrop$/.test(key) && typeof value === "number" && value > 0,
  );
  if (rates.length === 0) return [];
  const listed = rates.map(([key, value]) => `${key} ${value}`).join(", ");
  return [`${path} asks for dropout (${listed}); it is not used, training has none in this version`];
}

function describeModel(value: unknown): Pick<ModelConfig, "positions" | "vocabSize"> | { problems: string[] } {
  const type = (value as { model_type?: unknown } | null)?.model_type;
  const parsed = type === "gpt2" ? gpt2Schema.safeParse(value) : anySchema.safeParse(value);
  if (!parsed.success) return { problems: parsed.error.issues.map((issue) => describeIssue(issue, value)) };
  const { data } = parsed;
  if (!isGpt2(data)) {
    // Mistral looks back no further than its window, which is 4096 tokens unless the config says otherwise.
    const window = data.model_type === "mistral" && data.sliding_window === undefined ? 4096 : data.sliding_window;
    const positions = data.max_position_embeddings;
    const windowed = data.model_type === "mistral" || data["use_sliding_window"] === true;
    return { positions: Math.min(positions, (windowed ? window : null) ?? positions), vocabSize: data.vocab_size };
  }
  const problems = shapeProblems(data);
  return problems.length > 0 ? { problems } : { positions: data.n_positions, vocabSize: data.vocab_size };
}

function isGpt2(data: z.output<typeof gpt2Schema> | z.output<typeof anySchema>): data is z.output<typeof gpt2Schema> {
  return data.model_type === "gpt2";
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
