// A model directory as Hugging Face's tools read and write it: config.json and model.safetensors.
// Tokenizer files travel as text and are not looked into here.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { RingtuneError } from "../../common/errors.ts";
import { checkDefinition, type Definition, findEos, parseObject } from "../../common/tokenizer-definition.ts";
import { createModel } from "./architectures.ts";
import { loadParameters } from "./load-parameters.ts";
import type { Model } from "./model.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";
import { writeSafetensors, type NamedTensor } from "./safetensors.ts";

export interface LoadedModel {
  readonly model: Model;
  /** Flat, in the order of the model's layout. */
  readonly parameters: Float32Array;
}

/** Token ids that transformers' generate() looks up in config.json. */
export interface SpecialTokens {
  readonly bosId: number;
  readonly eosId: number;
}

/**
 * Reads a directory with config.json and model.safetensors. Throws `checkpoint_invalid` for a file that is missing
 * or corrupt and `model_mismatch` for an architecture that is not supported, or of another size than `into`.
 */
export async function readModelDirectory(
  directory: string,
  options: { into?: Float32Array } = {},
): Promise<LoadedModel> {
  const model = await readModelConfig(directory);
  const { layout } = model;
  const parameters = options.into ?? new Float32Array(layout.size);
  if (parameters.length !== layout.size) {
    throw new RingtuneError(
      "model_mismatch",
      `${directory} holds a model of ${layout.size} parameters, the run trains one of ${parameters.length}`,
      { details: { directory, found: layout.size, expected: parameters.length } },
    );
  }
  await loadParameters(join(directory, "model.safetensors"), layout, parameters, model.files);
  return { model, parameters };
}

/** Reads and checks config.json alone; errors as in `readModelDirectory`. */
export async function readModelConfig(directory: string): Promise<Model> {
  const path = join(directory, "config.json");
  return createModel(await readJson(path), path);
}

/** Writes model.safetensors, then config.json, each atomically, so that a config is never without its weights. */
export async function writeModelDirectory(
  directory: string,
  { model, parameters }: LoadedModel,
  tokens?: SpecialTokens,
): Promise<void> {
  await writeSafetensors(join(directory, "model.safetensors"), modelTensors(model.layout, parameters));
  await writeFileAtomic(join(directory, "config.json"), modelConfigJson(model, tokens));
}

/** Views of every parameter, in the layout's order. */
export function modelTensors(layout: ParameterLayout, flat: Float32Array): NamedTensor[] {
  return layout.specs.map((spec) => ({ name: spec.name, shape: spec.shape, data: viewOf(flat, spec) }));
}

/** A config.json that transformers' Auto classes accept: the model's own, with what has been decided since. */
export function modelConfigJson(model: Model, tokens?: SpecialTokens): string {
  const json = {
    ...model.config,
    torch_dtype: "float32",
    ...(tokens === undefined ? {} : { bos_token_id: tokens.bosId, eos_token_id: tokens.eosId }),
  };
  const sorted = Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify(Object.fromEntries(sorted), undefined, 2)}\n`;
}

/**
 * The id of the end-of-text token, which GPT-2 also begins with, in a tokenizer.json and tokenizer_config.json;
 * undefined when they do not say, because weights are worth saving without it.
 */
export function specialTokensOf(tokenizerJson: string, tokenizerConfigJson: string): SpecialTokens | undefined {
  try {
    const vocabulary = checkDefinition(
      parseObject(tokenizerJson, "tokenizer.json") as unknown as Definition,
      "tokenizer.json",
    );
    const config = parseObject(tokenizerConfigJson, "tokenizer_config.json");
    const eosId = vocabulary.get(findEos(config, vocabulary, "tokenizer.json"));
    return eosId === undefined ? undefined : { bosId: eosId, eosId };
  } catch {
    return undefined;
  }
}

/** Throws `checkpoint_invalid` when the file is missing or is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
    const why = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "permission denied" : code;
    throw new RingtuneError("checkpoint_invalid", `${path} cannot be read: ${why}`, { details: { file: path }, cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} is ${Buffer.byteLength(text)} bytes that are not JSON (${(cause as Error).message}); it is corrupt or truncated`,
      { details: { file: path }, cause },
    );
  }
}
