// Gradients of regularised training on every engine, against float64 numbers of PyTorch (test/golden/make_regularised.py).

import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import { createOnnxEngine } from "../../../worker/engine/onnx/engine.ts";
import { loadRuntime } from "../../../worker/engine/onnx/runtime.ts";
import type { Engine } from "../../../worker/engine/engine.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { withLora } from "../../../worker/model/lora.ts";
import type { Model } from "../../../worker/model/model.ts";
import { loadTensors } from "../../../worker/model/load-parameters.ts";
import { splitLayout, viewOf, type ParameterLayout } from "../../../worker/model/parameters.ts";
import { tf } from "../../../worker/model/tf.ts";
import { planBuckets } from "../../../worker/train/overlap/buckets.ts";
import { clear, isThere } from "../../../worker/train/overlap/readiness.ts";
import { temporaryFolder } from "../../support/cli.ts";
import { contractEngines } from "../../support/engines.ts";
import { goldenNames, readGolden, rowsOf, type GoldenName } from "./golden.ts";

interface Case {
  readonly rates: Readonly<Record<string, number>>;
  readonly smoothing: number;
  readonly loss: number;
  readonly grad_norms: Readonly<Record<string, number>>;
}

interface ProfileEvent {
  readonly cat: string;
  readonly args?: { readonly op_name?: string };
}

const golden = JSON.parse(readFileSync(new URL("../../golden/regularised.json", import.meta.url), "utf8")) as {
  readonly seed: number;
  readonly step: number;
  readonly first_row: number;
  readonly models: Readonly<Record<GoldenName, { readonly smoothed: Case; readonly dropped: Case }>>;
  readonly lora: Case;
  readonly mask: number[][];
};
const draw = { step: golden.step, firstRow: golden.first_row };

/** The model of `name` with the rates of the golden numbers in its config. */
function withRates(name: GoldenName): Model {
  const { model } = readGolden(name);
  const { embedding = 0, hidden = 0, attention = 0, classifier = 0 } = golden.models[name].dropped.rates;
  const gpt2 = { embd_pdrop: embedding, resid_pdrop: hidden, attn_pdrop: attention };
  const bert = {
    hidden_dropout_prob: hidden,
    attention_probs_dropout_prob: attention,
    classifier_dropout: classifier,
  };
  const rates = name === "gpt2" ? gpt2 : name === "llama" ? { attention_dropout: attention } : bert;
  return createModel({ ...model.config, ...rates }, name);
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** To 1e-4 relative, and 1e-6 where the derivative is 0 (key biases). */
function expectNorms(layout: ParameterLayout, gradients: Float32Array, expected: Case["grad_norms"]): void {
  expect(layout.specs.map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
  for (const spec of layout.specs) {
    const [have, want] = [norm(viewOf(gradients, spec)), expected[spec.name]!];
    expect(Math.abs(have - want), spec.name).toBeLessThan(1e-4 * want + 1e-6);
  }
}

// Every model where that is quick; the contract of the engines (engine.test.ts) has all of them everywhere.
const cases = contractEngines.flatMap((choice) => {
  const isQuick =
    choice.threads === 1 && choice.device !== "webgpu" && !(choice.kind === "tfjs" && choice.device === "cpu");
  return (isQuick ? goldenNames : (["gpt2"] as const)).map((name) => ({ ...choice, name }));
});

describe.each(cases)("$name on $kind $device with $threads thread(s)", ({ kind, device, threads, name }) => {
  const { model, batch, expected, parameters } = readGolden(name);
  const { smoothed, dropped } = golden.models[name];
  let engine: Engine;

  beforeAll(async () => {
    const training = { labelSmoothing: smoothed.smoothing };
    engine = await createEngine({ kind, device, threads, parameters: parameters(), model, training });
  });
  afterAll(() => engine.close());

  test("smooths labels in training as torch.nn.functional.cross_entropy does, and not in validation", async () => {
    const gradients = new Float32Array(model.layout.size);
    const weight = 1 / expected.loss_count;
    const { lossSum, tokens } = await engine.gradients(batch, { weight, accumulate: false, gradients });
    expect(tokens).toBe(expected.loss_count);
    expect(Math.abs(lossSum / tokens / smoothed.loss - 1)).toBeLessThan(1e-5);
    expectNorms(model.layout, gradients, smoothed.grad_norms);
    const validation = await engine.loss(batch);
    expect(Math.abs(validation.lossSum / validation.tokens / expected.loss - 1)).toBeLessThan(1e-5);
  });

  test("drops the same elements as the reference in training, and none in validation", async () => {
    const training = { dropoutSeed: golden.seed };
    const own = { kind, device, threads, parameters: parameters(), model: withRates(name), training };
    const dropping = await createEngine(own);
    const gradients = new Float32Array(model.layout.size);
    const options = { weight: 1 / expected.loss_count, gradients };
    const { lossSum, tokens } = await dropping.gradients(batch, { ...options, draw, accumulate: false });
    expect(Math.abs(lossSum / tokens / dropped.loss - 1)).toBeLessThan(1e-5);
    expectNorms(model.layout, gradients, dropped.grad_norms);
    // A part of the rows, elsewhere, has the masks of those rows.
    const parts = [rowsOf(batch, 0, 1), rowsOf(batch, 1, 3)];
    for (const [i, part] of parts.entries()) {
      const place = { step: golden.step, firstRow: golden.first_row + i };
      await dropping.gradients(part, { ...options, draw: place, accumulate: i > 0 });
    }
    expectNorms(model.layout, gradients, dropped.grad_norms);
    const next = await dropping.gradients(batch, { ...options, draw: { ...draw, step: 4 }, accumulate: false });
    expect(Math.abs(next.lossSum / lossSum - 1)).toBeGreaterThan(1e-4);
    const validation = await dropping.loss(batch);
    expect(Math.abs(validation.lossSum / validation.tokens / expected.loss - 1)).toBeLessThan(1e-5);
    await dropping.close();
  });
});

describe.each(cases)("$name on $kind $device with $threads thread(s)", ({ kind, device, threads, name }) => {
  test("computes blocks again to the same gradients, with the same masks, and keeps no tensors", async () => {
    const { batch, parameters } = readGolden(name);
    const model = withRates(name);
    const results = [];
    for (const recompute of ["none", "blocks"] as const) {
      const training = { dropoutSeed: golden.seed, recompute };
      const engine = await createEngine({ kind, device, threads, parameters: parameters(), model, training });
      const gradients = new Float32Array(model.layout.size);
      const options = { weight: 0.01, gradients, draw, accumulate: false };
      await engine.gradients(batch, options);
      const { numTensors } = tf.memory();
      const { lossSum } = await engine.gradients(batch, options);
      expect(tf.memory().numTensors).toBe(numTensors);
      results.push({ lossSum, gradients });
      await engine.close();
    }
    const [kept, again] = results as [(typeof results)[0], (typeof results)[0]];
    expect(Math.abs(again.lossSum / kept.lossSum - 1)).toBeLessThan(1e-6);
    const difference = norm(again.gradients.map((value, i) => value - kept.gradients[i]!));
    expect(difference / norm(kept.gradients)).toBeLessThan(1e-6);
  });
});

/** The operators of the GPT of two blocks, as ONNX Runtime computed them. */
async function operatorsOf(
  recompute: "none" | "blocks",
  { accumulate = false, inGroups = false } = {},
): Promise<string[]> {
  const { model, batch, parameters } = readGolden("gpt2");
  const groups = inGroups ? groupsOf(model) : [];
  const selection = { provider: { name: "cpu", index: 0 }, description: "cpu", why: [] } as const;
  const profilePrefix = join(await temporaryFolder(), "profile");
  const own = {
    model,
    parameters: parameters(),
    selection,
    threads: 1,
    profilePrefix,
    training: { recompute },
    groups,
  };
  const engine = createOnnxEngine(await loadRuntime(), own);
  await engine.gradients(batch, { weight: 1, accumulate, gradients: new Float32Array(model.layout.size) });
  await engine.close();
  const [file] = await readdir(dirname(profilePrefix));
  const events = JSON.parse(await readFile(join(dirname(profilePrefix), file!), "utf8")) as ProfileEvent[];
  return events.flatMap(({ cat, args }) => (cat === "Node" ? (args?.op_name ?? []) : []));
}

/** Tensors of a quarter of the bytes at least. */
function groupsOf({ layout }: Model): (readonly string[])[] {
  return planBuckets(layout, layout.size).map(({ tensors }) => tensors);
}

test("ONNX Runtime computes blocks again, one after another, and does not take them for what it has", async () => {
  const [kept, again] = [await operatorsOf("none"), await operatorsOf("blocks")];
  const count = (nodes: readonly string[], operator: string): number =>
    nodes.filter((name) => name === operator).length;
  // GELU's forward pass: of two blocks once, or once more each.
  expect(count(kept, "FastGelu")).toBe(2);
  expect(count(again, "FastGelu")).toBe(4);
  // Its derivative is the only sigmoid: that of the upper block is done before the lower one is computed again.
  expect(again.filter((name) => name === "FastGelu" || name === "Sigmoid").join(" ")).toBe(
    "FastGelu FastGelu FastGelu Sigmoid FastGelu Sigmoid",
  );
});

test.each([{ accumulate: false }, { accumulate: true }, { inGroups: true }, { accumulate: true, inGroups: true }])(
  "gradients of weights do not wait for the whole backward pass, %j",
  async (options) => {
    const operators = await operatorsOf("none", options);
    // From the derivative of one GELU to that of the other the gradients of as many weights and biases as after it.
    const [upper, lower] = [operators.indexOf("Sigmoid"), operators.lastIndexOf("Sigmoid")];
    for (const operator of ["FusedMatMul", "ReduceSum"]) {
      const places = operators.flatMap((name, i) => (name === operator && i > upper ? [i] : []));
      const between = places.filter((i) => i < lower).length;
      expect(between, operator).toBeGreaterThan(0);
      expect(between, operator).toBe(places.length - between);
    }
  },
);

test("says that the gradients of a group are there before it computes those of others, and computes the same", async () => {
  const { model, batch, parameters } = readGolden("gpt2");
  const groups = groupsOf(model);
  expect(groups.length).toBeGreaterThan(2);
  const plain = await createEngine({ kind: "onnx", device: "cpu", threads: 1, parameters: parameters(), model });
  const engine = await createEngine({
    kind: "onnx",
    device: "cpu",
    threads: 1,
    parameters: parameters(),
    model,
    groups,
  });
  expect(plain.ready).toBeUndefined();
  const [expected, gradients] = [new Float32Array(model.layout.size), new Float32Array(model.layout.size)];
  for (const accumulate of [false, true]) {
    for (const signal of engine.ready!) clear(signal);
    expect(engine.ready!.map(isThere)).not.toContain(true);
    await plain.gradients(batch, { weight: 0.1, accumulate, gradients: expected });
    await engine.gradients(batch, { weight: 0.1, accumulate, gradients });
    expect(engine.ready!.map(isThere)).not.toContain(false);
    expect(gradients).toEqual(expected);
    for (const [i, names] of groups.entries()) {
      const firsts = names.map((name) => gradients[model.layout.specs.find((spec) => spec.name === name)!.offset]!);
      expect([...engine.ready![i]!]).toEqual(firsts);
    }
  }
  await plain.close();
  await engine.close();

  // The signal looks at each tensor once. Of the first group all are looked at before the lower block's GELU is walked through.
  for (const accumulate of [false, true]) {
    const operators = await operatorsOf("none", { accumulate, inGroups: true });
    const looks = operators.flatMap((name, i) => (name === "GatherND" ? [i] : []));
    expect(looks).toHaveLength(model.layout.specs.length);
    expect(looks[groups[0]!.length - 1]).toBeLessThan(operators.lastIndexOf("Sigmoid"));
  }
});

test("labels that each are yes or no are not smoothed", async () => {
  const { model } = readGolden("bert-seqcls");
  const several = createModel({ ...model.config, problem_type: "multi_label_classification" }, "a test");
  const parameters = new Float32Array(several.layout.size);
  const training = { labelSmoothing: 0.1 };
  await expect(createEngine({ kind: "onnx", threads: 1, parameters, model: several, training })).rejects.toMatchObject({
    code: "config_invalid",
    message: expect.stringContaining("train.label_smoothing: 0.1 spreads one answer over 3 labels") as string,
  });
});

test.each(["onnx", "tfjs"] as const)("drops what goes into adapters, on %s", async (kind) => {
  const { model: base, batch, expected, parameters } = readGolden("gpt2");
  const settings = {
    rank: 4,
    alpha: 8,
    rslora: false,
    target_modules: ["c_attn"],
    dropout: golden.lora.rates["lora"]!,
  };
  const model = withLora(base, settings);
  const { trainable, frozen } = splitLayout(model.layout, (name) => model.trains(name));
  const trained = new Float32Array(trainable.size);
  const folder = new URL("../../golden/gpt2/lora_trained.safetensors", import.meta.url);
  const targets = trainable.specs.map((spec) => ({ name: spec.name, shape: spec.shape, into: viewOf(trained, spec) }));
  await loadTensors(fileURLToPath(folder), targets);
  const engine = await createEngine({
    ...{ kind, threads: 1, model, parameters: trained, trainable },
    frozen: { layout: frozen, parameters: parameters() },
    training: { dropoutSeed: golden.seed },
  });
  const gradients = new Float32Array(trainable.size);
  const weight = 1 / expected.loss_count;
  const { lossSum, tokens } = await engine.gradients(batch, { weight, draw, gradients, accumulate: false });
  expect(Math.abs(lossSum / tokens / golden.lora.loss - 1)).toBeLessThan(1e-5);
  expectNorms(trainable, gradients, golden.lora.grad_norms);
  await engine.close();
});
