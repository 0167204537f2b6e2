// Adapters as PEFT saves them: adapter_config.json, which says what they are and of which model, and their matrices in
// adapter_model.safetensors. And their end: folded into the weights of the model that they were trained on.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { RingtuneError } from "../../common/errors.ts";
import { obtain, type Obtained } from "../../common/hub/obtain.ts";
import {
  readModelConfig,
  readModelDirectory,
  readModelWeights,
  type LoadedModel,
  type NewHead,
} from "./huggingface.ts";
import { targetsOf, type TensorTarget } from "./load-parameters.ts";
import { adapterNames, loraScale, peftPrefix, type LoraModel } from "./lora.ts";
import type { LinearModule, Model } from "./model.ts";
import { describeNames } from "./name-patterns.ts";
import { readJson } from "./read-json.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";

export const adapterConfigFile = "adapter_config.json";
export const adapterFile = "adapter_model.safetensors";

const none = <T extends z.ZodType>(type: T) => type.nullish();
const empty = z.record(z.string(), z.never());

/** What is used, and what would change the result and is not computed here. */
const schema = z.looseObject({
  peft_type: z.literal("LORA"),
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
  r: z.int().min(1),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().default(false),
  bias: z.literal("none").default("none"),
  use_dora: none(z.literal(false)),
  lora_bias: none(z.literal(false)),
  rank_pattern: none(empty),
  alpha_pattern: none(empty),
});

export interface AdapterConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  /** The model that it belongs to, a directory or a name on the Hub, if the file says. */
  readonly base: string | undefined;
  /** Of a base on the Hub. */
  readonly revision: string | undefined;
}

/** adapter_config.json of an adapter of the model in `base`, or of that name `onHub`, for PEFT. */
export function adapterConfigJson(model: LoraModel, base: string, onHub?: Obtained["hub"]): string {
  const { adapted, settings, head, files } = model;
  const taskType = {
    "causal-lm": "CAUSAL_LM",
    "masked-lm": null,
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
  }[head.kind];
  const saved = model.layout.specs.filter(({ name }) => model.trains(name) && !name.startsWith(peftPrefix));
  const heads = saved.flatMap(({ name }) => files.heads?.exec(name)?.[0].replace(/\.$/, "").split(".").at(-1) ?? []);
  const config = {
    peft_type: "LORA",
    task_type: taskType,
    base_model_name_or_path: onHub?.name ?? base,
    revision: onHub?.commit ?? null,
    r: settings.rank,
    lora_alpha: settings.alpha,
    lora_dropout: settings.dropout ?? 0,
    use_rslora: settings.rslora,
    target_modules: targetNames(model),
    // Whether the weights are stored [inputs, outputs], as GPT-2's are.
    fan_in_fan_out: adapted.some(({ transposed }) => transposed),
    bias: "none",
    modules_to_save: heads.length === 0 ? null : [...new Set(heads)],
    init_lora_weights: true,
    inference_mode: true,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** The last parts of the layers' names when these mean no other layer, which is how people write them; else the names. */
function targetNames({ adapted, base }: LoraModel): string[] {
  const last = (name: string): string => name.slice(name.lastIndexOf(".") + 1);
  const names = new Set(adapted.map(({ name }) => last(name)));
  const modules = base.layout.specs
    .filter(({ shape }) => shape.length === 2)
    .map(({ name }) => name.replace(/\.weight$/, ""));
  const meant = modules.filter((name) => names.has(last(name)));
  return meant.length === adapted.length ? [...names].sort() : adapted.map(({ name }) => name);
}

/** Whether `directory` holds an adapter and not a model. */
export async function isAdapter(directory: string): Promise<boolean> {
  return exists(join(directory, adapterConfigFile));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Throws `checkpoint_invalid`, or `model_mismatch` for an adapter of a kind that is not supported, listing why. */
export async function readAdapterConfig(directory: string): Promise<AdapterConfig> {
  const path = join(directory, adapterConfigFile);
  const parsed = schema.safeParse(await readJson(path));
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path: at, message }) => `${at.join(".") || "it"}: ${message}`);
    throw new RingtuneError("model_mismatch", `${path} is not an adapter that can be used: ${problems.join("; ")}`, {
      details: { file: path, problems: problems.length },
    });
  }
  const { r, lora_alpha, use_rslora, base_model_name_or_path: base, revision } = parsed.data;
  const model = { base: base || undefined, revision: revision ?? undefined };
  return { rank: r, alpha: lora_alpha, rslora: use_rslora, ...model };
}

/**
 * The model in `directory`; that of an adapter with the adapter (and those below it) folded in. `base` is the model that an
 * adapter belongs to, instead of the one that its config names. A classifier's head is in the adapter; a config.json beside
 * it, as runs write one, says which head that is. Errors as in `readModelDirectory`.
 */
export async function readWithAdapter(directory: string, base?: string): Promise<LoadedModel> {
  if (!(await isAdapter(directory))) return readModelDirectory(directory);
  const model = await readAdaptedConfig(directory, base);
  const parameters = new Float32Array(model.layout.size);
  const absent = new Set<string>();
  const initialise = ({ name }: TensorTarget): void => void absent.add(name);
  const folded = await readAdaptedWeights(directory, model, targetsOf(model.layout, parameters), { initialise, base });
  folded.names.forEach((name) => absent.delete(name));
  if (absent.size === 0) return { model, parameters };
  throw new RingtuneError(
    "checkpoint_invalid",
    `neither the adapter ${directory} nor its base holds ${[...absent].join(", ")} of ${model.name}`,
    { details: { directory, missing: absent.size } },
  );
}

async function readAdaptedConfig(directory: string, base?: string): Promise<Model> {
  if (!(await isAdapter(directory)) || (await exists(join(directory, "config.json"))))
    return readModelConfig(directory);
  return readAdaptedConfig(await locateBase(directory, base)).catch((cause: unknown) => {
    throw ofBase(directory, cause);
  });
}

/**
 * Reads the weights of a model directory, or of an adapter and the model below it, into `targets`, which are all tensors of
 * `model`, without a copy. Gives the tensors that adapters have as a whole, and sentences about what is not as in the files.
 */
export async function readAdaptedWeights(
  directory: string,
  model: Model,
  targets: readonly TensorTarget[],
  { base, ...newHead }: NewHead & { readonly base?: string | undefined } = {},
): Promise<{ readonly names: readonly string[]; readonly notices: readonly string[] }> {
  if (!(await isAdapter(directory))) {
    return { names: [], notices: await readModelWeights(directory, model, targets, newHead) };
  }
  const below = await readAdaptedWeights(await locateBase(directory, base), model, targets, newHead).catch(
    (cause: unknown) => {
      throw ofBase(directory, cause);
    },
  );
  const into = new Map(targets.map(({ name, into }) => [name, into]));
  const names = await foldAdapter(directory, { model, tensor: (name) => into.get(name) });
  return { names: [...below.names, ...names], notices: below.notices };
}

function ofBase(directory: string, cause: unknown): unknown {
  if (!(cause instanceof RingtuneError)) return cause;
  const { code, message, details } = cause;
  const sentence = `${message}; it is the base of the adapter ${directory}, another is given with --base`;
  return new RingtuneError(code, sentence, { details, cause });
}

/**
 * The folder of the model that the adapter in `directory` belongs to, or of `base` instead; one of the Hub is taken from the
 * cache or downloaded. Throws `usage` when nothing says which.
 */
export async function locateBase(directory: string, base?: string): Promise<string> {
  const config = await readAdapterConfig(directory);
  const name = base ?? config.base;
  if (name === undefined) {
    throw new RingtuneError("usage", `${join(directory, adapterConfigFile)} names no base model; give it with --base`);
  }
  const revision = base === undefined ? config.revision : undefined;
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const options = { env: process.env, need: "model", revision, preferCached: true, onNotice: say } as const;
  return (await obtain(name, options)).path;
}

/** Where weights are that an adapter is folded into: those of `model`, by name. */
export interface FoldTarget {
  readonly model: Model;
  readonly tensor: (name: string) => Float32Array | undefined;
}

/**
 * Adds the adapter in `directory` to the weights of its model: scale * B A to a layer's [outputs, inputs], the transpose of
 * that to [inputs, outputs]; tensors that were trained as a whole take their place. Computed in double precision.
 * Gives the names of these. Throws `checkpoint_invalid` for tensors that do not fit the model.
 */
export async function foldAdapter(directory: string, { model, tensor }: FoldTarget): Promise<string[]> {
  const config = await readAdapterConfig(directory);
  const file = await openSafetensors(join(directory, adapterFile));
  try {
    const shapes = new Map(model.layout.specs.map(({ name, shape }) => [name, shape]));
    const linears = new Map(model.linears.map((linear) => [linear.name, linear]));
    const left = new Set(file.tensors.keys());
    const whole: string[] = [];
    for (const name of file.tensors.keys()) {
      const bare = name.startsWith(peftPrefix) ? name.slice(peftPrefix.length) : name;
      const shape = shapes.get(bare);
      const linear = linears.get(/^(.*)\.lora_A\.weight$/.exec(bare)?.[1] ?? "");
      if (shape !== undefined) {
        assertShape(file, name, shape);
        await file.read(name, tensor(bare)!);
        whole.push(bare);
        left.delete(name);
      } else if (linear !== undefined) {
        await foldLinear(file, linear, config, tensor(`${linear.name}.weight`)!);
        const { a, b } = adapterNames(linear.name);
        left.delete(a);
        left.delete(b);
      }
    }
    if (left.size > 0) throw unfitting(file, model, [...left]);
    return whole;
  } finally {
    await file.close();
  }
}

async function foldLinear(
  file: SafetensorsFile,
  { name, inputs, outputs, transposed }: LinearModule,
  config: AdapterConfig,
  into: Float32Array,
): Promise<void> {
  const { rank } = config;
  const names = adapterNames(name);
  assertShape(file, names.a, [rank, inputs]);
  assertShape(file, names.b, [outputs, rank]);
  const a = new Float32Array(rank * inputs);
  const b = new Float32Array(outputs * rank);
  await file.read(names.a, a);
  await file.read(names.b, b);
  const flipped = b.map((_, i) => b[(i % outputs) * rank + Math.floor(i / outputs)]!); // [rank, outputs]
  if (transposed) addProduct(into, a, flipped, rank, loraScale(config));
  else addProduct(into, flipped, a, rank, loraScale(config));
}

/** into [m, n] += scale p' q for p [rank, m] and q [rank, n]. */
function addProduct(into: Float32Array, p: Float32Array, q: Float32Array, rank: number, scale: number): void {
  const [m, n] = [p.length / rank, q.length / rank];
  const row = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = p[k * m + i]!;
      for (let j = 0; j < n; j++) row[j]! += factor * q[k * n + j]!;
    }
    for (let j = 0; j < n; j++) into[i * n + j] = into[i * n + j]! + scale * row[j]!;
  }
}

function assertShape(file: SafetensorsFile, name: string, shape: readonly number[]): void {
  const found = file.tensors.get(name)?.shape;
  if (found?.join() === shape.join()) return;
  const what = found === undefined ? "lacks" : `has [${found.join(", ")}] as`;
  throw new RingtuneError(
    "checkpoint_invalid",
    `${file.path} ${what} ${name}, which is [${shape.join(", ")}] for its model and rank`,
    { details: { file: file.path, tensor: name } },
  );
}

function unfitting(file: SafetensorsFile, model: Model, names: readonly string[]): RingtuneError {
  const layers = describeNames(model.linears.map(({ name }) => name));
  return new RingtuneError(
    "checkpoint_invalid",
    `${file.path} does not fit ${model.name}: it has ${describeNames(names)}, and the layers that adapters can be on are ${layers}`,
    { details: { file: file.path, unexpected: names.length } },
  );
}
