// Gradients in float16 against float64 numbers of PyTorch and against float32, and what refuses which precision. ONNX
// Runtime's CPU computes a part of it in float32, so this is about the graph and its range, not about a GPU's rounding.

import { expect, onTestFinished, test, vi } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import { createOnnxEngine } from "../../../worker/engine/onnx/engine.ts";
import { GraphBuilder } from "../../../worker/engine/onnx/graph.ts";
import { loadRuntime } from "../../../worker/engine/onnx/runtime.ts";
import type { TrainingOptions } from "../../../worker/engine/training-options.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { hasWebgpu, withoutWebgpu } from "../../support/engines.ts";
import { goldenNames, readGolden, type GoldenName } from "./golden.ts";

const draw = { step: 3, firstRow: 0 };
const scale = 1024;
const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** Gradients of the mean loss, computed times `scale` in two microbatches, and the losses in training and validation. */
async function compute(name: GoldenName, training: Partial<TrainingOptions>, rates: object = {}) {
  const { model, batch, parameters, expected } = readGolden(name);
  const own = createModel({ ...model.config, ...rates }, name);
  const engine = await createEngine({
    kind: "onnx",
    device: "cpu",
    threads: 1,
    ...{ parameters: parameters(), training },
    model: own,
  });
  const gradients = new Float32Array(model.layout.size);
  const options = { weight: (0.5 * scale) / expected.loss_count, gradients, draw };
  const { lossSum, tokens } = await engine.gradients(batch, { ...options, accumulate: false });
  await engine.gradients(batch, { ...options, accumulate: true });
  const validation = await engine.loss(batch);
  await engine.close();
  return { loss: lossSum / tokens, gradients: gradients.map((value) => value / scale), validation, model, expected };
}

test.each(goldenNames)(
  "%s in float16: loss to 1e-3, gradients to 1e-2 relative, validation in float32",
  async (name) => {
    const { loss, gradients, validation, model, expected } = await compute(name, { precision: "fp16" });
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-3);
    expect(Math.abs(validation.lossSum / validation.tokens / expected.loss - 1)).toBeLessThan(1e-5);
    for (const spec of model.layout.specs) {
      const want = expected.grad_norms[spec.name]!;
      expect(Math.abs(norm(viewOf(gradients, spec)) - want), spec.name).toBeLessThan(
        1e-2 * want + 1e-4 * expected.grad_norm,
      );
    }
    const full = await compute(name, {});
    const difference = norm(gradients.map((value, i) => value - full.gradients[i]!)) / norm(full.gradients);
    expect(difference).toBeLessThan(1e-2);
    expect(difference).toBeGreaterThan(1e-6); // it is not float32
  },
);

test.each(
  goldenNames.flatMap(
    (name) =>
      [
        [name, "fp16", "float16"],
        [name, "bf16", "bfloat16"],
      ] as const,
  ),
)("of %s, %s has products in %s and sums, softmax and normalisation in float32", async (name, precision, half) => {
  const { model, batch, parameters } = readGolden(name);
  const nodes = vi.spyOn(GraphBuilder.prototype, "nodes");
  onTestFinished(() => nodes.mockRestore());
  const own = { model, parameters: parameters(), threads: 1, training: { precision } };
  const selection = { provider: { name: "cuda", index: 0 }, description: "cuda", why: [] } as const;
  // The graph alone: it runs nowhere.
  const runtime = { ...(await loadRuntime()), load: () => Promise.reject(new Error("traced")) };
  const engine = createOnnxEngine(runtime, { ...own, selection });
  const gradients = new Float32Array(model.layout.size);
  await expect(engine.gradients(batch, { weight: 1, accumulate: false, gradients })).rejects.toThrow("traced");
  const typesOf = (...operators: string[]): string[] =>
    nodes.mock.calls.flatMap(([operator, inputs]) =>
      operators.includes(operator) ? inputs.map(({ dtype }) => dtype).filter((dtype) => !dtype.startsWith("int")) : [],
    );
  const products = typesOf("MatMul", "Gemm", "FusedMatMul");
  expect(products.length).toBeGreaterThan(20);
  expect(new Set(products)).toEqual(new Set([half]));
  const sums = typesOf("Softmax", "LayerNormalization", "ReduceSum", "ReduceMean", "ScatterND", "Exp", "Log");
  expect(sums.length).toBeGreaterThan(5);
  expect(new Set(sums)).toEqual(new Set(["float32"]));
});

test("float16 goes with dropout, label smoothing and blocks that are computed again", async () => {
  const rates = { embd_pdrop: 0.1, resid_pdrop: 0.1, attn_pdrop: 0.1 };
  const training = { dropoutSeed: 5, labelSmoothing: 0.1, recompute: "blocks" } as const;
  const half = await compute("gpt2", { ...training, precision: "fp16" }, rates);
  const full = await compute("gpt2", training, rates);
  expect(Math.abs(half.loss / full.loss - 1)).toBeLessThan(1e-3);
  const difference = norm(half.gradients.map((value, i) => value - full.gradients[i]!)) / norm(full.gradients);
  expect(difference).toBeLessThan(1e-2);
});

test("what has no such type refuses it, with what has", async () => {
  const { model, parameters } = readGolden("gpt2");
  const options = { model, parameters: parameters(), threads: 1 };
  // As device auto would have chosen.
  const selection = { provider: { name: "cpu", index: 0 }, description: "cpu", why: [] } as const;
  const runtime = await loadRuntime();
  expect(() => createOnnxEngine(runtime, { ...options, selection, training: { precision: "bf16" } })).toThrow(
    "train.precision: bf16 can't be computed by device cpu: cuda and tensorrt have bfloat16",
  );
  await expect(createEngine({ ...options, kind: "tfjs", training: { precision: "fp16" } })).rejects.toMatchObject({
    code: "config_invalid",
    message: expect.stringContaining("train.precision: fp16 can't be computed by engine tfjs") as string,
  });
});

test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

test.skipIf(!hasWebgpu)(
  "WebGPU computes float16 where its adapter has shader-f16, and else says that it has not",
  async () => {
    const { model, batch, parameters, expected } = readGolden("gpt2");
    const training = { precision: "fp16" } as const;
    const engine = await createEngine({
      kind: "onnx",
      device: "webgpu",
      threads: 1,
      model,
      parameters: parameters(),
      training,
    });
    const gradients = new Float32Array(model.layout.size);
    const run = engine.gradients(batch, { weight: scale / expected.loss_count, accumulate: false, gradients });
    const outcome = await run.then(
      ({ lossSum, tokens }) => Math.abs(lossSum / tokens / expected.loss - 1) < 1e-2,
      (error: Error) => error.message,
    );
    await engine.close();
    if (outcome !== true)
      expect(outcome).toMatch(/^train.precision: fp16 can't be computed by webgpu.* lacks WebGPU's shader-f16/);
  },
);
