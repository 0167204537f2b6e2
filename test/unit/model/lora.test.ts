// Which layers get adapters, how they start, that only they have gradients, and their files. The numbers of whole
// trajectories are in fixtures.test.ts.

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { createRandom } from "../../../common/random.ts";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import {
  adapterConfigFile,
  adapterConfigJson,
  adapterFile,
  foldAdapter,
  readAdapterConfig,
  readWithAdapter,
} from "../../../worker/model/adapter-files.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { readModelDirectory, writeModelDirectory } from "../../../worker/model/huggingface.ts";
import { initialiseParameters } from "../../../worker/model/initialise.ts";
import { peftPrefix, withLora, type LoraSettings } from "../../../worker/model/lora.ts";
import type { Model } from "../../../worker/model/model.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { openSafetensors, writeSafetensors } from "../../../worker/model/safetensors.ts";
import { readBase } from "../../../worker/train/checkpoint.ts";
import { writeCheckpoint } from "../../support/write-checkpoint.ts";
import { createTrainedWeights, describeTraining, viewsOf } from "../../../worker/train/trained-weights.ts";

const golden = join(import.meta.dirname, "../../golden");
const settings: LoraSettings = { rank: 2, alpha: 4, rslora: false, target_modules: "all-linear" };
const gpt2 = createModel(
  { model_type: "gpt2", vocab_size: 11, n_positions: 8, n_embd: 8, n_layer: 2, n_head: 2 },
  "test",
);
const bert = async (): Promise<Model> => (await readModelDirectory(join(golden, "bert-seqcls"))).model;

const adaptedBy = (model: Model, target_modules: LoraSettings["target_modules"]): string[] =>
  withLora(model, { ...settings, target_modules }).adapted.map(({ name }) => name);

describe("targets", () => {
  test("are the ends of layers' names, or all linear layers", () => {
    expect(adaptedBy(gpt2, ["c_attn"])).toEqual(["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]);
    expect(adaptedBy(gpt2, ["c_proj"])).toHaveLength(4);
    expect(adaptedBy(gpt2, ["attn.c_proj", "transformer.h.1.mlp.c_fc"])).toEqual([
      "transformer.h.0.attn.c_proj",
      "transformer.h.1.attn.c_proj",
      "transformer.h.1.mlp.c_fc",
    ]);
    expect(adaptedBy(gpt2, "all-linear")).toHaveLength(8);
  });

  test("that name nothing are refused, with the names that exist", () => {
    const wrong = (): unknown => withLora(gpt2, { ...settings, target_modules: ["c_attn", "q_proj", "attn"] });
    expect(wrong).toThrow(RingtuneError);
    expect(wrong).toThrow(
      "lora.target_modules: q_proj, attn name no linear layer of gpt2 with 2 layers, width 8; they must be the end of one of transformer.h.N.attn.c_attn, transformer.h.N.attn.c_proj, transformer.h.N.mlp.c_fc, transformer.h.N.mlp.c_proj (N is 0 to 1), or all-linear",
    );
  });
});

describe("what is trained", () => {
  test("is the adapters, and the head of a classifier", async () => {
    const adapters = createTrainedWeights(gpt2, { lora: { ...settings, target_modules: ["c_attn"] } });
    expect(adapters.trainable.specs.map(({ name, shape }) => [name, shape])).toEqual([
      ["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", [2, 8]],
      ["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight", [24, 2]],
      ["base_model.model.transformer.h.1.attn.c_attn.lora_A.weight", [2, 8]],
      ["base_model.model.transformer.h.1.attn.c_attn.lora_B.weight", [24, 2]],
    ]);
    expect(adapters.frozen.layout).toEqual(gpt2.layout);
    expect(describeTraining(adapters)).toBe("training 128 of 2,040 parameters (6.27%): adapters of rank 2 on 2 layers");
    const classifier = createTrainedWeights(await bert(), { lora: { ...settings, target_modules: ["query"] } });
    const whole = classifier.trainable.specs.map(({ name }) => name).filter((name) => !name.includes("lora_"));
    expect(whole).toEqual([
      "bert.pooler.dense.weight",
      "bert.pooler.dense.bias",
      "classifier.weight",
      "classifier.bias",
    ]);
  });

  test("is what no pattern freezes", () => {
    const weights = createTrainedWeights(gpt2, { freeze: ["transformer.w?e.*", "*.h.[0-0].*", "*.bias"] });
    expect(weights.trainable.specs.map(({ name }) => name)).toEqual([
      "transformer.h.1.ln_1.weight",
      "transformer.h.1.attn.c_attn.weight",
      "transformer.h.1.attn.c_proj.weight",
      "transformer.h.1.ln_2.weight",
      "transformer.h.1.mlp.c_fc.weight",
      "transformer.h.1.mlp.c_proj.weight",
      "transformer.ln_f.weight",
    ]);
    expect(weights.trainable.size + weights.frozen.layout.size).toBe(gpt2.layout.size);
    expect(describeTraining(weights)).toBe("training 792 of 1,912 parameters (41.4%): 21 of 28 tensors are frozen");
    expect(describeTraining(createTrainedWeights(gpt2))).toBe("training all 1,912 parameters");
  });

  test("can't be nothing, and a pattern must match: the names are listed", () => {
    expect(() => createTrainedWeights(gpt2, { freeze: ["*"] })).toThrow("freezes all 1912 parameters");
    const wrong = (): unknown => createTrainedWeights(gpt2, { freeze: ["*.bias", "wte", "transformer.h.0"] });
    expect(wrong).toThrow(
      'train.freeze: "wte", "transformer.h.0" match no parameter of the model; its parameters are transformer.wte.weight, transformer.wpe.weight, transformer.h.N.ln_1.weight',
    );
    expect(wrong).toThrow("(N is 0 to 1)");
  });
});

describe.each(["onnx", "tfjs"] as const)("on %s", (kind) => {
  const rows = { rows: 2, length: 5 };
  const inputIds = Int32Array.from({ length: 10 }, (_, i) => (i * 7) % 11);
  const batch = { ...rows, inputIds, targets: inputIds.map((id) => (id + 1) % 11) };

  test("adapters start without an effect, and then have the effect of the merged weights", async () => {
    for (const rslora of [false, true]) {
      const weights = createTrainedWeights(gpt2, { lora: { ...settings, rslora } });
      const { model, trainable, parameters, frozen } = weights;
      initialiseParameters(model, frozen.layout, frozen.parameters, 3);
      initialiseParameters(model, trainable, parameters, 3);
      const plain = await createEngine({ kind, model: gpt2, parameters: frozen.parameters, threads: 1 });
      const adapted = await createEngine({ kind, ...weights, threads: 1 });
      expect(await adapted.logits(batch)).toEqual(await plain.logits(batch));

      const random = createRandom(1, "b");
      for (const spec of trainable.specs) {
        if (spec.name.includes("lora_B")) viewOf(parameters, spec).forEach((_, i, b) => (b[i] = random.normal() * 0.1));
      }
      const logits = await adapted.logits(batch);
      const directory = await mkdtemp(join(tmpdir(), "ringtune-lora-"));
      try {
        await writeSafetensors(join(directory, adapterFile), viewsOf(weights, trainable));
        await writeFile(join(directory, adapterConfigFile), adapterConfigJson(weights.lora!, "nowhere"));
        const merged = frozen.parameters.slice();
        const specs = new Map(gpt2.layout.specs.map((spec) => [spec.name, spec]));
        await foldAdapter(directory, { model: gpt2, tensor: (name) => viewOf(merged, specs.get(name)!) });
        frozen.parameters.set(merged);
        const distance = Math.max(...(await plain.logits(batch)).map((logit, i) => Math.abs(logit - logits[i]!)));
        expect(distance).toBeLessThan(1e-5);
        expect(distance).toBeLessThan(Math.max(...logits.map(Math.abs)) * 1e-3);
      } finally {
        await rm(directory, { recursive: true });
        await plain.close();
        await adapted.close();
      }
    }
  });

  test("a frozen parameter changes no gradient of the others, and has none", async () => {
    const all = createTrainedWeights(gpt2);
    initialiseParameters(gpt2, gpt2.layout, all.parameters, 3);
    const some = createTrainedWeights(gpt2, { freeze: ["*.mlp.*", "*.wte.*"] });
    initialiseParameters(gpt2, some.trainable, some.parameters, 3);
    initialiseParameters(gpt2, some.frozen.layout, some.frozen.parameters, 3);
    const gradientsOf = async (weights: typeof all): Promise<Map<string, Float32Array>> => {
      const engine = await createEngine({ kind, ...weights, threads: 1 });
      const gradients = new Float32Array(weights.trainable.size);
      await engine.gradients(batch, { weight: 0.1, accumulate: false, gradients });
      await engine.gradients(batch, { weight: 0.1, accumulate: true, gradients });
      await engine.close();
      return new Map(weights.trainable.specs.map((spec) => [spec.name, viewOf(gradients, spec)]));
    };
    const [whole, part] = [await gradientsOf(all), await gradientsOf(some)];
    expect(part.size).toBeLessThan(whole.size);
    for (const [name, gradient] of part) {
      const expected = whole.get(name)!;
      gradient.forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-6));
    }
  });
});

test("A is uniform within 1 / sqrt(inputs) and depends on the seed alone, B is 0", () => {
  const { model, trainable, parameters } = createTrainedWeights(gpt2, { lora: { ...settings, rank: 64 } });
  initialiseParameters(model, trainable, parameters, 5);
  for (const spec of trainable.specs) {
    const view = viewOf(parameters, spec);
    if (spec.name.includes("lora_B")) expect(view.every((value) => value === 0)).toBe(true);
    else {
      const bound = 1 / Math.sqrt(spec.shape[1]!);
      const largest = Math.max(...view.map(Math.abs));
      expect(largest).toBeLessThanOrEqual(bound);
      expect(largest).toBeGreaterThan(0.95 * bound);
      expect(Math.abs(view.reduce((sum, value) => sum + value, 0) / view.length)).toBeLessThan(0.1 * bound);
    }
  }
  const again = new Float32Array(trainable.size);
  initialiseParameters(model, trainable, again, 5);
  expect(again).toEqual(parameters);
});

describe("files", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "ringtune-adapter-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const json = (model: Model, changes: Partial<LoraSettings> = {}): Record<string, unknown> =>
    JSON.parse(adapterConfigJson(withLora(model, { ...settings, ...changes }), "/models/base")) as Record<
      string,
      unknown
    >;

  test("have the config that PEFT reads", async () => {
    expect(json(gpt2)).toEqual({
      revision: null,
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: "/models/base",
      r: 2,
      lora_alpha: 4,
      lora_dropout: 0,
      use_rslora: false,
      target_modules: ["c_attn", "c_fc", "c_proj"],
      fan_in_fan_out: true,
      bias: "none",
      modules_to_save: null,
      init_lora_weights: true,
      inference_mode: true,
    });
    expect(json(gpt2, { target_modules: ["transformer.h.1.mlp.c_fc"] })["target_modules"]).toEqual([
      "transformer.h.1.mlp.c_fc",
    ]);
    const classifier = json(await bert(), { rslora: true });
    expect(classifier).toMatchObject({ task_type: "SEQ_CLS", fan_in_fan_out: false, use_rslora: true });
    expect(classifier["modules_to_save"]).toEqual(["pooler", "classifier"]);
    // "dense" alone would be the pooler's too.
    expect(classifier["target_modules"]).toContain("bert.encoder.layer.0.output.dense");
  });

  test("of an adapter that would compute something else are refused, with everything that is wrong", async () => {
    const write = (changes: object): Promise<void> =>
      writeFile(join(directory, adapterConfigFile), JSON.stringify({ ...json(gpt2), ...changes }));
    await write({ use_dora: true, bias: "all", rank_pattern: { c_attn: 4 } });
    await expect(readAdapterConfig(directory)).rejects.toThrow(/bias: .*; use_dora: .*; rank_pattern/);
    await write({ peft_type: "IA3" });
    await expect(readAdapterConfig(directory)).rejects.toThrow(/not an adapter that can be used: peft_type/);
    await write({ rank_pattern: {}, use_dora: false, layers_to_transform: null });
    expect(await readAdapterConfig(directory)).toEqual({ rank: 2, alpha: 4, rslora: false, base: "/models/base" });
  });

  test("that do not fit the model are refused", async () => {
    const base = join(golden, "gpt2");
    const config = JSON.stringify({ ...json(gpt2), r: 4, base_model_name_or_path: base });
    await writeFile(join(directory, adapterConfigFile), config);
    await cp(join(golden, "llama/lora_trained.safetensors"), join(directory, adapterFile));
    await expect(readWithAdapter(directory)).rejects.toThrow(
      /does not fit gpt2 .*it has base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight.*transformer.h.N.attn.c_attn/,
    );
    await cp(join(golden, "gpt2/lora_trained.safetensors"), join(directory, adapterFile), { force: true });
    await writeFile(join(directory, adapterConfigFile), config.replace('"r":4', '"r":5'));
    await expect(readWithAdapter(directory)).rejects.toThrow(/has \[4, 32\] as .*lora_A.weight, which is \[5, 32\]/);
    await writeFile(join(directory, adapterConfigFile), config.replace(JSON.stringify(base), '"/absent"'));
    await expect(readWithAdapter(directory)).rejects.toThrow(/absent.*it is the base of the adapter .* --base/);
    expect((await readWithAdapter(directory, base)).model.name).toContain("gpt2");
  });

  test("name the tensors as PEFT's own files do", async () => {
    const { model } = await readModelDirectory(join(golden, "gpt2"));
    const weights = createTrainedWeights(model, { lora: { ...settings, rank: 4, target_modules: ["c_attn"] } });
    const header = async (path: string): Promise<string[]> => {
      const bytes = await readFile(path);
      const names = JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE()))) as object;
      return Object.keys(names).sort();
    };
    await writeSafetensors(join(directory, adapterFile), viewsOf(weights, weights.trainable));
    expect(await header(join(directory, adapterFile))).toEqual(
      await header(join(golden, "gpt2/lora_trained.safetensors")),
    );
  });
});

describe("an adapter of a classifier on an encoder that was pre-trained with another head", () => {
  const rows = { rows: 3, length: 8 };
  const inputIds = Int32Array.from({ length: 24 }, (_, i) => (i * 11 + 3) % 96);
  const batch = { ...rows, inputIds, targets: Int32Array.of(0, 2, 1) };
  let folder: string;
  let adapter: string;
  let weights: ReturnType<typeof createTrainedWeights>;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ringtune-classifier-"));
    const [base, empty] = [join(folder, "base"), join(folder, "runs")];
    for (const path of [base, empty]) await mkdir(path);
    const classifier = await bert();
    const pretrained = createModel({ ...classifier.config, architectures: ["BertForMaskedLM"] }, "test");
    const parameters = new Float32Array(pretrained.layout.size);
    initialiseParameters(pretrained, pretrained.layout, parameters, 4);
    await writeModelDirectory(base, { model: pretrained, parameters });

    weights = createTrainedWeights(classifier, { lora: { ...settings, target_modules: ["query", "value"] } });
    initialiseParameters(weights.model, weights.trainable, weights.parameters, 5);
    const notices = await readBase(base, weights, 5);
    expect(notices[0]).toMatch(
      /4 tensors of a new head \(bert\.pooler\.dense\.weight, .*classifier\.bias\) start from/,
    );
    const random = createRandom(6, "b");
    weights.parameters.forEach((value, i, all) => (all[i] = value + 0.1 * random.normal()));
    adapter = join(empty, "checkpoint");
    await writeCheckpoint(adapter, {
      weights,
      basePath: base,
      optimizer: { name: "sgd", step: 0, buffers: {} },
      ...{ tokenizerJson: "{}", tokenizerConfigJson: "", step: 0, position: 0, seed: 5, worldSize: 1 },
    });
  });
  afterEach(async () => rm(folder, { recursive: true }));

  test("is saved with its head, as PEFT's modules_to_save, and merged to the same logits on both engines", async () => {
    const config = JSON.parse(await readFile(join(adapter, adapterConfigFile), "utf8")) as Record<string, unknown>;
    expect(config).toMatchObject({
      task_type: "SEQ_CLS",
      modules_to_save: ["pooler", "classifier"],
      target_modules: ["query", "value"],
    });
    const file = await openSafetensors(join(adapter, adapterFile));
    await file.close();
    const saved = [...file.tensors.keys()];
    expect(saved).toContain("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight");
    expect(saved.filter((name) => !name.includes("lora_")).sort()).toEqual([
      "base_model.model.bert.pooler.dense.bias",
      "base_model.model.bert.pooler.dense.weight",
      "base_model.model.classifier.bias",
      "base_model.model.classifier.weight",
    ]);
    const merged = await readWithAdapter(adapter);
    expect(merged.model.head).toMatchObject({ kind: "sequence-classification", labels: 3 });
    for (const kind of ["onnx", "tfjs"] as const) {
      const [beside, folded] = [
        await createEngine({ kind, ...weights, threads: 1 }),
        await createEngine({ kind, ...merged, threads: 1 }),
      ];
      const [expected, found] = [await beside.logits(batch), await folded.logits(batch)];
      expect(new Set(expected.map((logit) => Math.round(logit * 1e3))).size).toBeGreaterThan(5);
      found.forEach((logit, i) => expect(Math.abs(logit - expected[i]!), kind).toBeLessThan(2e-5));
      await beside.close();
      await folded.close();
    }
  });

  test("without its head is refused, and so is one without a config that says what it classifies", async () => {
    const thin = viewsOf(weights, weights.trainable).filter(({ name }) => !name.startsWith("classifier"));
    await writeSafetensors(
      join(adapter, adapterFile),
      thin.map((tensor) => ({ ...tensor, name: tensor.name.replace(/^(?!base_model)/, peftPrefix) })),
    );
    await expect(readWithAdapter(adapter)).rejects.toThrow(
      /neither the adapter .* nor its base holds classifier\.weight, classifier\.bias of bert/,
    );
    await rm(join(adapter, "config.json"));
    await expect(readWithAdapter(adapter)).rejects.toThrow(/does not fit bert .*bert\.pooler\.dense/);
  });
});
