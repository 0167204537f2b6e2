// Every key of the configuration with what it may hold, read off the schema: for messages, suggestions and the reference.
// Nothing is validated here.

import { z } from "zod";
import { configSchema } from "./schema.ts";
import { listOf, nearest } from "./nearest.ts";
import { mergeVariants } from "./variants.ts";

/** The part of JSON Schema that the configuration uses. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  /** Sections that a constant key tells apart. */
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly pattern?: string;
  readonly examples?: readonly unknown[];
}

export interface Field {
  /** "train.optimizer.beta1" */
  readonly path: string;
  readonly schema: JsonSchema;
  readonly description: string;
  /** Undefined when the field may be left out and then means what its description says. */
  readonly default: unknown;
  /** "a whole number of at least 1" */
  readonly expected: string;
  /** The key exists only where the section's `selector` has one of these values. */
  readonly only?: readonly string[];
}

export interface Section {
  /** "train.optimizer"; "" is the whole file. */
  readonly path: string;
  readonly description: string;
  /** Names of its keys, sections included. */
  readonly keys: readonly string[];
  /** The key whose value decides which others there are: "name" of train.optimizer. */
  readonly selector?: string;
}

/** JSON Schema (draft 2020-12) of a configuration file as a user writes it: every default may be left out. */
export function configJsonSchema(): JsonSchema & Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, {
    io: "input",
    override({ jsonSchema }) {
      // zod's mark of "no limit": the largest safe integer.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  return { title: "Ringtune configuration", ...(schema as Record<string, unknown>) };
}

const found = collect();

/** By path, in the order of the schema. */
export const fields: ReadonlyMap<string, Field> = found.fields;

/** By path, in the order of the schema, "" first. */
export const sections: ReadonlyMap<string, Section> = found.sections;

/** What may stand in a place: "one of "linear" or "cosine"", "a number above 0". */
export function describeExpected(schema: JsonSchema): string {
  if (schema.anyOf) return listOf(schema.anyOf.map(describeExpected));
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return listOf(schema.enum.map((value) => JSON.stringify(value)));
  switch (schema.type) {
    case "integer":
      return `a whole number${describeRange(schema)}`;
    case "number":
      return `a number${describeRange(schema)}`;
    case "string":
      if (schema.examples) return `one such as ${listOf(schema.examples.map((value) => JSON.stringify(value)))}`;
      return schema.pattern === undefined
        ? "text"
        : "a name of letters, digits, dots, dashes and underscores that begins with a letter or digit";
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "array":
      return `a list of ${schema.items?.type === "string" ? "texts" : "values"}`;
    default:
      return "a section of keys";
  }
}

/** The texts that a field accepts, when it accepts only certain ones. */
export function choicesOf(schema: JsonSchema): string[] {
  const all = [schema.const, ...(schema.enum ?? []), ...(schema.anyOf ?? []).flatMap(choicesOf)];
  return all.filter((value) => typeof value === "string");
}

/** Whether the field accepts a value of this JSON type. */
export function accepts(schema: JsonSchema, type: string): boolean {
  return schema.type === type || (schema.anyOf ?? []).some((option) => accepts(option, type));
}

/** What other tools call it. */
const otherNames: Readonly<Record<string, string>> = {
  lr: "train.learning_rate",
  max_lr: "train.learning_rate",
  min_lr: "train.min_learning_rate",
  batch_size: "train.global_batch",
  batch: "train.global_batch",
  micro_batch_size: "train.microbatch",
  per_device_train_batch_size: "train.microbatch",
  max_steps: "train.steps",
  max_iters: "train.steps",
  num_train_epochs: "train.epochs",
  num_epochs: "train.epochs",
  warmup: "train.warmup_steps",
  warmup_iters: "train.warmup_steps",
  warmup_fraction: "train.warmup_ratio",
  lr_scheduler_type: "train.schedule",
  scheduler: "train.schedule",
  max_grad_norm: "train.clip",
  grad_clip: "train.clip",
  label_smoothing_factor: "train.label_smoothing",
  block_size: "train.sequence_length",
  seq_len: "train.sequence_length",
  max_length: "train.sequence_length",
  eval_interval: "train.eval_every",
  eval_steps: "train.eval_every",
  eps: "train.optimizer.epsilon",
  optim: "train.optimizer.name",
  adam_beta1: "train.optimizer.beta1",
  adam_beta2: "train.optimizer.beta2",
  adam_epsilon: "train.optimizer.epsilon",
  lora_r: "lora.rank",
  lora_alpha: "lora.alpha",
  lora_dropout: "lora.dropout",
  hidden_dropout_prob: "train.dropout",
  gradient_checkpointing: "train.recompute",
  mixed_precision: "train.precision",
  fp16: "train.precision",
  bf16: "train.precision",
  attn_pdrop: "train.dropout",
  lora_target_modules: "lora.target_modules",
  use_rslora: "lora.rslora",
  early_stopping_patience: "train.early_stopping.patience",
  early_stopping_threshold: "train.early_stopping.min_delta",
  n_layer: "model.layers",
  num_layers: "model.layers",
  n_embd: "model.hidden",
  hidden_size: "model.hidden",
  d_model: "model.hidden",
  n_head: "model.heads",
  num_heads: "model.heads",
  n_positions: "model.positions",
  dataset: "data.source",
  path: "data.source",
  num_workers: "cluster.workers",
  world_size: "cluster.workers",
  output_dir: "checkpoint.dir",
  save_every: "checkpoint.every",
  save_steps: "checkpoint.every",
};

/**
 * The valid path that an unknown one was most likely meant to be: what other tools call it, a key of the same section
 * spelt alike, a key of another section. Undefined when nothing is near.
 */
export function nearestPath(unknown: string): string | undefined {
  const cut = unknown.lastIndexOf(".");
  const parent = unknown.slice(0, Math.max(0, cut));
  const key = unknown.slice(cut + 1);
  const everywhere = [...fields.keys(), ...sections.keys()].filter((path) => path !== "");
  const other = otherNames[key.toLowerCase()];
  if (other !== undefined) return other;
  const section = sections.get(parent);
  const sibling = section && nearest(key, section.keys);
  if (sibling !== undefined) return parent === "" ? sibling : `${parent}.${sibling}`;
  const whole = nearest(unknown, everywhere);
  if (whole !== undefined) return whole;
  const last = (path: string): string => path.slice(path.lastIndexOf(".") + 1);
  const name = nearest(key, everywhere.map(last));
  return name === undefined ? undefined : everywhere.find((path) => last(path) === name);
}

function collect(): { fields: Map<string, Field>; sections: Map<string, Section> } {
  const fields = new Map<string, Field>();
  const sections = new Map<string, Section>();
  const addField = (path: string, schema: JsonSchema, only?: readonly string[]): void => {
    const { description = "", default: preset } = schema;
    const field = { path, schema, description, default: preset, expected: describeExpected(schema) };
    fields.set(path, { ...field, ...(only === undefined ? {} : { only }) });
  };
  const visit = (path: string, schema: JsonSchema): void => {
    const description = schema.description ?? "";
    const variants = mergeVariants(schema);
    if (variants) {
      const { selector, keys } = variants;
      sections.set(path, { path, description, keys: [...keys.keys()], selector });
      for (const [key, { schema: child, only }] of keys) addField(`${path}.${key}`, child, only);
    } else if (schema.properties) {
      sections.set(path, { path, description, keys: Object.keys(schema.properties) });
      for (const [key, child] of Object.entries(schema.properties)) visit(path === "" ? key : `${path}.${key}`, child);
    } else addField(path, schema);
  };
  visit("", configJsonSchema());
  return { fields, sections };
}

function describeRange(schema: JsonSchema): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const from = minimum ?? exclusiveMinimum;
  if (from === undefined) return maximum === undefined ? "" : ` of at most ${maximum}`;
  const low = exclusiveMinimum === undefined ? `from ${from}` : `above ${from}`;
  if (exclusiveMaximum !== undefined) return ` ${low}, below ${exclusiveMaximum}`;
  if (maximum !== undefined)
    return exclusiveMinimum === undefined ? ` ${low} to ${maximum}` : ` ${low}, at most ${maximum}`;
  return exclusiveMinimum === undefined ? ` of at least ${from}` : ` ${low}`;
}
