// Checkpoints on a real file system: restored bit for bit, whole or absent, and damage is named.

import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { readModelDirectory, writeModelDirectory } from "../../../worker/model/huggingface.ts";
import { initialiseParameters } from "../../../worker/model/initialise.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { readCheckpoint } from "../../../worker/train/checkpoint.ts";
import { divideCheckpoint } from "../../../worker/train/checkpoint-parts.ts";
import { readCheckpointState } from "../../../worker/train/checkpoint-state.ts";
import { digestOf } from "../../../worker/train/summary.ts";
import { createTrainedWeights, viewsOf, type TrainedWeights } from "../../../worker/train/trained-weights.ts";
import { writeCheckpoint } from "../../support/write-checkpoint.ts";
import { createOptimizer, type Optimizer, type OptimizerSettings } from "../../../worker/train/optimizer.ts";

const settings: OptimizerSettings = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
const sizes = { model_type: "gpt2", vocab_size: 5, n_positions: 8, n_embd: 8, n_layer: 2, n_head: 2 };
const model = createModel(sizes, "test");
const { layout } = model;
const tokenizerJson = JSON.stringify({
  added_tokens: [{ id: 4, content: "<|endoftext|>", special: true }],
  model: { type: "BPE", vocab: { a: 0, b: 1, c: 2, d: 3, "<|endoftext|>": 4 }, merges: [] },
});
const tokenizerConfigJson = JSON.stringify({ eos_token: "<|endoftext|>" });
const everyFile = [
  "config.json",
  "model.safetensors",
  "optimizer.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
];

let runs: string;
let directory: string;
beforeEach(async () => {
  runs = await mkdtemp(join(tmpdir(), "ringtune-checkpoint-"));
  directory = join(runs, "step-00000003");
});
afterEach(async () => rm(runs, { recursive: true }));

function trained(
  seed: number,
  chosen = settings,
): { weights: TrainedWeights; parameters: Float32Array; optimizer: Optimizer } {
  const weights = createTrainedWeights(model);
  const { parameters } = weights;
  initialiseParameters(model, layout, parameters, seed);
  const optimizer = createOptimizer(chosen, layout);
  const gradients = parameters.map((value, i) => value * 3 + (i % 7) * 0.01);
  for (let step = 0; step < 3; step++) optimizer.step(parameters, gradients, { learningRate: 1e-3, clipFactor: 1 });
  return { weights, parameters, optimizer };
}

async function write(
  seed = 1,
  into = directory,
  chosen = settings,
): Promise<{ parameters: Float32Array; optimizer: Optimizer }> {
  const { weights, parameters, optimizer } = trained(seed, chosen);
  const facts = { tokenizerJson, tokenizerConfigJson, step: 3, position: 48, seed: 7, worldSize: 2 };
  await writeCheckpoint(into, { weights, optimizer: optimizer.state(), ...facts });
  return { parameters, optimizer };
}

async function read(from = directory, chosen = settings) {
  const restored = { weights: createTrainedWeights(model), optimizer: createOptimizer(chosen, layout) };
  const state = await readCheckpoint(from, restored);
  return { ...restored, parameters: restored.weights.parameters, state };
}

async function refusal(work: Promise<unknown>): Promise<RingtuneError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RingtuneError);
  return error as RingtuneError;
}

describe("a checkpoint", () => {
  test("restores weights, optimizer state and place in the data bit for bit", async () => {
    const saved = await write();
    const { parameters, optimizer, state } = await read();
    expect(Buffer.from(parameters.buffer)).toEqual(Buffer.from(saved.parameters.buffer));
    expect(optimizer.state()).toEqual(saved.optimizer.state());
    expect(optimizer.state().step).toBe(3);
    expect(state).toMatchObject({
      step: 3,
      position: 48,
      seed: 7,
      worldSize: 2,
      optimizer: { name: "adamw", step: 3 },
    });
  });

  test.each<OptimizerSettings>([
    { name: "adam", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0 },
    { name: "sgd", momentum: 0, nesterov: false, weight_decay: 0 },
    { name: "sgd", momentum: 0.9, nesterov: true, weight_decay: 0.1 },
    { name: "rmsprop", alpha: 0.99, epsilon: 1e-8, momentum: 0.5, weight_decay: 0 },
  ])("restores the state of $name with momentum $momentum bit for bit", async (other) => {
    const saved = await write(1, directory, other);
    const { optimizer, state } = await read(directory, other);
    expect(optimizer.state()).toEqual(saved.optimizer.state());
    expect(state.optimizer).toEqual({ name: other.name, step: 3 });
  });

  test("holds exactly its files, and is a Hugging Face model directory", async () => {
    const { parameters } = await write();
    expect((await readdir(directory)).sort()).toEqual([...everyFile, "state.json"].sort());
    const loaded = await readModelDirectory(directory);
    expect(loaded.model.layout).toEqual(layout);
    expect(loaded.model.config).toMatchObject(sizes);
    expect(loaded.parameters).toEqual(parameters);
    const json = JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as object;
    expect(json).toMatchObject({
      architectures: ["GPT2LMHeadModel"],
      model_type: "gpt2",
      eos_token_id: 4,
      bos_token_id: 4,
    });
    expect(await readFile(join(directory, "tokenizer.json"), "utf8")).toBe(tokenizerJson);
  });

  test("is the same bytes when written twice", async () => {
    await write(1);
    await write(1, join(runs, "again"));
    for (const name of [...everyFile, "state.json"]) {
      expect(await readFile(join(directory, name))).toEqual(await readFile(join(runs, "again", name)));
    }
  });

  test("replaces one of the same step", async () => {
    await write(1);
    const { parameters } = await write(2);
    expect((await read()).parameters).toEqual(parameters);
    expect(await readdir(runs)).toEqual(["step-00000003"]);
  });
});

describe("a damaged checkpoint is refused:", () => {
  test.each(everyFile)("%s with one byte changed", async (name) => {
    await write();
    const path = join(directory, name);
    const bytes = await readFile(path);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const error = await refusal(read());
    expect(error.code).toBe("checkpoint_invalid");
    expect(error.message).toContain(path);
    expect(error.message).toMatch(/SHA-256 is [0-9a-f]{64}, [0-9a-f]{64} was written/);
  });

  test.each(everyFile)("%s cut off, too long, or gone", async (name) => {
    await write();
    const path = join(directory, name);
    const { size } = await stat(path);
    await appendFile(path, "x");
    expect((await refusal(read())).message).toContain(`${path} is corrupt: ${size + 1} bytes, ${size} were written`);
    await truncate(path, size - 3);
    expect((await refusal(read())).message).toContain(`${path} is truncated: ${size - 3} bytes, ${size} were written`);
    await rm(path);
    expect((await refusal(read())).message).toContain(`${path} is missing`);
  });

  test("state.json cut off anywhere, absent, or of a later version", async () => {
    await write();
    const path = join(directory, "state.json");
    const text = await readFile(path, "utf8");
    for (const end of [0, 1, 40, text.length >> 1, text.length - 3]) {
      await writeFile(path, text.slice(0, end));
      expect((await refusal(read())).message).toContain(path);
    }
    await writeFile(path, text.replace('"format": 1', '"format": 3'));
    expect((await refusal(read())).message).toMatch(/is of format 3, this version reads up to 2/);
    await writeFile(path, JSON.stringify({ ...(JSON.parse(text) as object), files: {}, step: -1 }));
    expect((await refusal(read())).message).toMatch(/not a checkpoint's state: step/);
    await writeFile(path, JSON.stringify({ ...(JSON.parse(text) as object), files: {} }));
    expect((await refusal(read())).message).toMatch(/does not list config.json/);
    await rm(path);
    expect((await refusal(readCheckpointState(directory))).message).toMatch(/no such file/);
  });

  test("the right files of another model", async () => {
    await write();
    const wider = createModel({ ...sizes, vocab_size: 6 }, "test");
    const into = { weights: createTrainedWeights(wider), optimizer: createOptimizer(settings, wider.layout) };
    const { message } = await refusal(readCheckpoint(directory, into));
    expect(message).toContain("transformer.wte.weight is [5, 8], the config says [6, 8]");
  });
});

describe("a checkpoint of several writers", () => {
  const facts = { tokenizerJson, tokenizerConfigJson, step: 3, position: 48, seed: 7, worldSize: 2 };

  test.each([2, 3, 40])("of %i parts restores the same bits, and is a sharded model of transformers", async (parts) => {
    const { weights, parameters, optimizer } = trained(2);
    await writeCheckpoint(directory, { weights, optimizer: optimizer.state(), ...facts, parts });
    const restored = await read();
    expect(restored.parameters).toEqual(parameters);
    expect(restored.optimizer.state()).toEqual(optimizer.state());
    expect(restored.state.format).toBe(2);
    expect((await readModelDirectory(directory)).parameters).toEqual(parameters);
    const shards = (await readdir(directory)).filter((name) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name));
    expect(shards.length).toBeGreaterThan(1);
    expect(shards.at(-1)).toBe(`model-${pad(shards.length)}-of-${pad(shards.length)}.safetensors`);

    const part = (await readdir(directory)).find((name) => name.startsWith("optimizer-00002-of-"))!;
    const bytes = await readFile(join(directory, part));
    bytes[bytes.length - 5]! ^= 4;
    await writeFile(join(directory, part), bytes);
    expect((await refusal(read())).message).toMatch(
      /optimizer-00002-of-.* is corrupt: its SHA-256 is \w{64}, \w{64} was/,
    );
    await rm(join(directory, shards[1]!));
    expect((await refusal(read())).message).toContain(`${join(directory, shards[1]!)} is missing`);
  });

  test("is divided as evenly as whole tensors allow, every tensor once", () => {
    const { weights, optimizer } = trained(1);
    const all = divideCheckpoint(weights, optimizer.state().buffers, 1)
      .parts.flat()
      .flatMap(({ tensors }) => tensors);
    const largest = Math.max(...all.map(({ data }) => data.byteLength));
    for (const count of [2, 3, 5]) {
      const { parts, sizeBytes } = divideCheckpoint(weights, optimizer.state().buffers, count);
      const bytes = parts.map((files) =>
        files.flatMap(({ tensors }) => tensors).reduce((sum, t) => sum + t.data.byteLength, 0),
      );
      expect(Math.max(...bytes) - Math.min(...bytes)).toBeLessThanOrEqual(largest);
      expect(bytes.reduce((a, b) => a + b)).toBe(sizeBytes);
      const names = parts.flat().flatMap(({ tensors }) => tensors.map(({ name }) => name));
      expect(names.sort()).toEqual(all.map(({ name }) => name).sort());
    }
  });

  test("is cut within a part where a file would be too large", () => {
    const { weights, optimizer } = trained(1);
    const { parts, index } = divideCheckpoint(weights, optimizer.state().buffers, 2, 1000);
    const files = parts.map((part) => part.filter(({ file }) => file.startsWith("model-")).length);
    expect(Math.min(...files)).toBeGreaterThan(1);
    expect(index).toContain(`of-${pad(files[0]! + files[1]!)}`);
  });

  const pad = (number: number): string => String(number).padStart(5, "0");
});

test("a model directory round trips", async () => {
  const parameters = trained(3).parameters;
  await writeModelDirectory(runs, { model, parameters }, { tokens: { bosId: 4, eosId: 4 } });
  expect((await readModelDirectory(runs)).parameters).toEqual(parameters);
});

describe("a checkpoint of adapters", () => {
  const lora = { rank: 2, alpha: 4, rslora: false, target_modules: ["c_attn", "c_fc"] };
  const facts = { tokenizerJson, tokenizerConfigJson, step: 3, position: 48, seed: 7, worldSize: 2 };

  async function writeAdapters(parts = 1): Promise<{ weights: TrainedWeights; optimizer: Optimizer; base: string }> {
    const base = join(runs, "base");
    await mkdir(base, { recursive: true });
    const parameters = trained(1).parameters;
    await writeModelDirectory(base, { model, parameters });
    const weights = createTrainedWeights(model, { lora });
    weights.frozen.parameters.set(parameters);
    initialiseParameters(weights.model, weights.trainable, weights.parameters, 2);
    const optimizer = createOptimizer(settings, weights.trainable);
    const gradients = weights.parameters.map((value, i) => value + (i % 5) * 0.01);
    for (let step = 0; step < 3; step++) {
      optimizer.step(weights.parameters, gradients, { learningRate: 1e-2, clipFactor: 1 });
    }
    const contents = { weights, basePath: base, baseDigest: digestOf(parameters), optimizer: optimizer.state(), parts };
    await writeCheckpoint(directory, { ...contents, ...facts });
    return { weights, optimizer, base };
  }

  async function readAdapters(basePath?: string) {
    const weights = createTrainedWeights(model, { lora });
    const optimizer = createOptimizer(settings, weights.trainable);
    await readCheckpoint(directory, { weights, optimizer, ...(basePath === undefined ? {} : { basePath }) });
    return { weights, optimizer };
  }

  test("has only them, and restores them, the model below and the optimizer bit for bit", async () => {
    const saved = await writeAdapters();
    expect((await readdir(directory)).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "config.json",
      "optimizer.safetensors",
      "state.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const { weights, optimizer } = await readAdapters();
    expect(weights.parameters).toEqual(saved.weights.parameters);
    expect(weights.frozen.parameters).toEqual(saved.weights.frozen.parameters);
    expect(optimizer.state()).toEqual(saved.optimizer.state());
  });

  test("of several writers has them in one file, which PEFT reads, and the optimizer's state in parts", async () => {
    const saved = await writeAdapters(3);
    const files = await readdir(directory);
    expect(files).toContain("adapter_model.safetensors");
    expect(files.filter((name) => name.startsWith("optimizer-"))).toHaveLength(2);
    const { weights, optimizer } = await readAdapters();
    expect(weights.parameters).toEqual(saved.weights.parameters);
    expect(optimizer.state()).toEqual(saved.optimizer.state());
  });

  test("finds the model where it is now, and refuses another one", async () => {
    const { weights, base } = await writeAdapters();
    await rename(base, join(runs, "moved"));
    expect((await readAdapters(join(runs, "moved"))).weights.frozen.parameters).toEqual(weights.frozen.parameters);
    const parameters = trained(2).parameters;
    await writeModelDirectory(join(runs, "moved"), { model, parameters });
    const { code, message } = await refusal(readAdapters(join(runs, "moved")));
    expect(code).toBe("checkpoint_invalid");
    expect(message).toMatch(/moved is not the model that the adapter .* was trained on: its weights have digest/);
  });

  test("of other layers is refused with their names", async () => {
    await writeAdapters();
    const weights = createTrainedWeights(model, { lora: { ...lora, target_modules: ["c_attn", "c_proj"] } });
    const into = { weights, optimizer: createOptimizer(settings, weights.trainable) };
    const { message } = await refusal(readCheckpoint(directory, into));
    expect(message).toMatch(/missing \(base_model.model.transformer.h.0.attn.c_proj.lora_A.weight/);
    expect(message).toMatch(/unexpected \(base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight/);
  });
});

test("a checkpoint with frozen weights is a whole model, whose optimizer state is of the trained part", async () => {
  const { parameters } = trained(1);
  const choice = { freeze: ["transformer.h.0.*"] };
  const weights = createTrainedWeights(model, choice);
  for (const [i, view] of viewsOf(weights, layout).entries()) view.data.set(viewOf(parameters, layout.specs[i]!));
  const optimizer = createOptimizer(settings, weights.trainable);
  optimizer.step(weights.parameters, weights.parameters.slice(), { learningRate: 1e-2, clipFactor: 1 });
  const facts = { tokenizerJson, tokenizerConfigJson, step: 3, position: 48, seed: 7, worldSize: 1 };
  await writeCheckpoint(directory, { weights, optimizer: optimizer.state(), ...facts });
  const loaded = await readModelDirectory(directory);
  for (const [i, { name, data }] of viewsOf(weights, layout).entries()) {
    expect(viewOf(loaded.parameters, layout.specs[i]!), name).toEqual(data);
  }
  const restored = createTrainedWeights(model, choice);
  const again = createOptimizer(settings, restored.trainable);
  await readCheckpoint(directory, { weights: restored, optimizer: again });
  expect(restored).toMatchObject({ parameters: weights.parameters, frozen: weights.frozen });
  expect(again.state()).toEqual(optimizer.state());
});

test("weights or optimizer state that could not be loaded again are not written, and the tensor is named", async () => {
  const broken = (where: (of: ReturnType<typeof trained>) => Float32Array) => {
    const of = trained(1);
    const spec = layout.specs[3]!;
    viewOf(where(of), spec)[2] = Infinity;
    const { weights, optimizer } = of;
    const state = optimizer.state();
    const contents = { weights, optimizer: state, tokenizerJson, tokenizerConfigJson };
    return {
      name: spec.name,
      written: writeCheckpoint(directory, { ...contents, step: 3, position: 9, seed: 1, worldSize: 1 }),
    };
  };
  const weights = broken(({ parameters }) => parameters);
  await expect(weights.written).rejects.toMatchObject({
    code: "not_finite",
    details: { tensor: weights.name, element: 2 },
  });
  await expect(weights.written).rejects.toThrow(/after step 3 .* Infinity at element 2 of tensor/);
  const state = broken(({ optimizer }) => optimizer.state().buffers["exp_avg_sq"]!);
  await expect(state.written).rejects.toThrow(/of tensor .* of exp_avg_sq, the optimizer's state/);
  await expect(stat(directory)).rejects.toThrow("ENOENT");
});
