// A model directory as Hugging Face's tools read and write it: config.json and safetensors, in one file or shards.
// Tokenizer files travel as text and are not looked into here.

import { join } from "node:path";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { checkDefinition, type Definition, findEos, parseObject } from "../../common/tokenizer-definition.ts";
import { createModel } from "./architectures.ts";
import { initialiseTensor } from "./initialise.ts";
import { describeList, readTensors, targetsOf, type TensorTarget } from "./load-parameters.ts";
import type { Model } from "./model.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";
import { readJson } from "./read-json.ts";
import { writeSafetensors, type NamedTensor, type StoredType } from "./safetensors.ts";
import { cutShards, indexFile, openModelFiles } from "./shards.ts";

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
 * Reads a directory with config.json and model.safetensors (or its shards). Throws `checkpoint_invalid` for a file that is
 * missing or corrupt and `model_mismatch` for an architecture that is not supported.
 */
export async function readModelDirectory(directory: string): Promise<LoadedModel> {
  const model = await readModelConfig(directory);
  const parameters = new Float32Array(model.layout.size);
  await readModelWeights(directory, model, targetsOf(model.layout, parameters));
  return { model, parameters };
}

/** What to do about a new head, which the files lack as a whole; one of them at most. */
export interface NewHead {
  /** Draw it from this seed. */
  readonly seed?: number;
  /** Fill it in. */
  readonly initialise?: (target: TensorTarget) => void;
}

/**
 * Reads the weights of `directory` into `targets`, which are tensors of `model`, tensor by tensor and without a copy. Gives
 * sentences about what is not as in the file.
 * Throws `checkpoint_invalid` that lists everything that is missing, unexpected or of another shape.
 */
export async function readModelWeights(
  directory: string,
  model: Model,
  targets: readonly TensorTarget[],
  { seed, initialise: given }: NewHead = {},
): Promise<string[]> {
  const drawn =
    seed === undefined ? undefined : (target: TensorTarget): void => initialiseTensor(model, target, target.into, seed);
  const initialise = given ?? drawn;
  const { initialised, unused } = await readTensors(await openModelFiles(directory), targets, {
    conventions: model.files,
    ...(initialise === undefined ? {} : { initialise }),
  });
  return [
    [
      describeList("tensors of a new head", given === undefined ? initialised : []),
      "start from the seed, because the files have none",
    ],
    [describeList("tensors of another head", unused), "are not used"],
  ].flatMap(([what, rest]) => (what === "" ? [] : [`${directory}: ${what} ${rest}`]));
}

/** Reads and checks config.json alone; errors as in `readModelDirectory`. */
export async function readModelConfig(directory: string): Promise<Model> {
  const path = join(directory, "config.json");
  return createModel(await readJson(path), path);
}

export interface WriteOptions {
  readonly tokens?: SpecialTokens | undefined;
  /** Where to cut; 5 GB when left out. */
  readonly shardBytes?: number | undefined;
  /** How the weights are stored; float32 when left out. */
  readonly type?: StoredType | undefined;
}

/**
 * Writes model.safetensors (or shards and their index above `shardBytes`), then config.json, each atomically, so that a
 * config is never without its weights.
 */
export async function writeModelDirectory(
  directory: string,
  { model, parameters }: LoadedModel,
  { tokens, shardBytes, type = "float32" }: WriteOptions = {},
): Promise<void> {
  const { shards, index } = cutShards(modelTensors(model.layout, parameters), shardBytes, type);
  for (const { file, tensors } of shards) await writeSafetensors(join(directory, file), tensors, type);
  if (index !== undefined) await writeFileAtomic(join(directory, indexFile), index);
  await writeFileAtomic(join(directory, "config.json"), modelConfigJson(model, tokens, type));
}

/** Views of every parameter, in the layout's order. */
export function modelTensors(layout: ParameterLayout, flat: Float32Array): NamedTensor[] {
  return layout.specs.map((spec) => ({ name: spec.name, shape: spec.shape, data: viewOf(flat, spec) }));
}

/** A config.json that transformers' Auto classes accept: the model's own, with what has been decided since. */
export function modelConfigJson(model: Model, tokens?: SpecialTokens, type: StoredType = "float32"): string {
  const json = { ...model.config, torch_dtype: type, ...(tokens && specialIds(model.config, tokens)) };
  const sorted = Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify(Object.fromEntries(sorted), undefined, 2)}\n`;
}

/** The model's own ids, unless it has none or the tokenizer ends texts with another token. */
function specialIds(config: Model["config"], { bosId, eosId }: SpecialTokens): object {
  const { bos_token_id: bos, eos_token_id: eos } = config;
  const fits = [eos].flat().includes(eosId); // Llama 3 has a list of them
  return { bos_token_id: typeof bos === "number" ? bos : bosId, eos_token_id: fits ? eos : eosId };
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
