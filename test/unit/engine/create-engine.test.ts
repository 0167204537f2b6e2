// Which engine is made, what is refused and why, and that engines agree on a model that no golden file covers.

import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createEngine, type EngineOptions } from "../../../worker/engine/create-engine.ts";
import type { LossResult } from "../../../worker/engine/engine.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { splitLayout, viewOf } from "../../../worker/model/parameters.ts";

const llama = {
  ...{ model_type: "llama", vocab_size: 50, hidden_size: 24, intermediate_size: 20, num_hidden_layers: 2 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 12 },
};
const small = { model_type: "gpt2", vocab_size: 50, n_positions: 12, n_embd: 24, n_layer: 2, n_head: 3 };

function optionsFor(json: object): Omit<EngineOptions, "kind"> {
  const model = createModel(json, "the test");
  const random = createRandom(3, "weights");
  const parameters = Float32Array.from({ length: model.layout.size }, () => 0.3 * random.normal());
  return { model, parameters, threads: 1 };
}

test("names the device that an engine does not have", async () => {
  const options = optionsFor(small);
  await expect(createEngine({ ...options, kind: "onnx", device: "wasm" })).rejects.toMatchObject({
    code: "no_device",
    message: expect.stringContaining("wasm is a device of engine tfjs; engine onnx has auto, cpu, webgpu") as string,
  });
  await expect(createEngine({ ...options, kind: "tfjs", device: "tpu" })).rejects.toMatchObject({
    code: "no_device",
    message: "tpu is not a device; engine tfjs has auto, gpu, node, wasm, cpu",
  });
});

test("says which package is missing when a device needs one", async () => {
  const creating = createEngine({ ...optionsFor(small), kind: "tfjs", device: "gpu" });
  await expect(creating).rejects.toMatchObject({
    code: "engine_unavailable",
    message: expect.stringContaining("@tensorflow/tfjs-node-gpu") as string,
  });
});

test("takes the best TensorFlow.js backend that is there", async () => {
  const engine = await createEngine({ ...optionsFor(small), kind: "tfjs" });
  expect(engine.description).toMatch(/^tfjs (gpu|node|wasm)/);
  await engine.close();
});

test.each([
  { change: {} },
  { change: { activation_function: "gelu" } },
  { change: { tie_word_embeddings: false } },
  { change: { scale_attn_weights: false, scale_attn_by_inverse_layer_idx: true } },
  { change: llama },
  { change: { ...llama, tie_word_embeddings: true, attention_bias: true, mlp_bias: true, head_dim: 10 } },
  { change: { ...llama, model_type: "qwen2", num_key_value_heads: 1 } },
  { change: { ...llama, model_type: "mistral", rope_theta: 100, rope_scaling: { type: "linear", factor: 3 } } },
  { change: { n_inner: 40, n_head: 1, layer_norm_epsilon: 1e-3 } },
])("agrees between engines with $change", async ({ change }) => {
  const options = optionsFor({ ...small, ...change });
  const random = createRandom(4, "tokens");
  const inputIds = Int32Array.from({ length: 36 }, () => random.integer(50));
  const targets = Int32Array.from({ length: 36 }, () => (random.next() < 0.3 ? -100 : random.integer(50)));
  const batch = { rows: 3, length: 12, inputIds, targets };
  const compute = async (
    kind: "onnx" | "tfjs",
    device: string,
  ): Promise<{ gradients: Float32Array; loss: LossResult }> => {
    const engine = await createEngine({ ...options, kind, device });
    const gradients = new Float32Array(options.parameters.length);
    const loss = await engine.gradients(batch, { weight: 0.1, accumulate: false, gradients });
    await engine.close();
    return { gradients, loss };
  };
  const [compiled, eager] = [await compute("onnx", "cpu"), await compute("tfjs", "wasm")];
  expect(compiled.loss.tokens).toBe(eager.loss.tokens);
  expect(Math.abs(compiled.loss.lossSum / eager.loss.lossSum - 1)).toBeLessThan(1e-5);
  const norm = Math.sqrt(eager.gradients.reduce((sum, value) => sum + value * value, 0));
  const error = Math.sqrt(eager.gradients.reduce((sum, value, i) => sum + (value - compiled.gradients[i]!) ** 2, 0));
  expect(error / norm).toBeLessThan(1e-5);
});

test.each(["onnx", "tfjs"] as const)(
  "gives gradients of the trained parameters only, the same as of all on %s",
  async (kind) => {
    const { model, parameters } = optionsFor(small);
    const batch = {
      rows: 2,
      length: 5,
      inputIds: Int32Array.from({ length: 10 }, (_, i) => i),
      targets: Int32Array.from({ length: 10 }, (_, i) => i + 1),
    };
    const gradientsOf = async (options: Omit<EngineOptions, "kind" | "model" | "threads">) => {
      const engine = await createEngine({ kind, model, threads: 1, ...options });
      const gradients = new Float32Array(engine.layout.size);
      for (const accumulate of [false, true]) await engine.gradients(batch, { weight: 0.1, accumulate, gradients });
      const { lossSum } = await engine.loss(batch);
      await engine.close();
      return { layout: engine.layout, gradients, lossSum };
    };
    const whole = await gradientsOf({ parameters });
    const { trainable, frozen } = splitLayout(model.layout, (name) => name.includes(".h.1.") && name.includes(".c_"));
    const part = (layout: typeof trainable) =>
      Float32Array.from(
        layout.specs.flatMap(({ name }) => [
          ...viewOf(
            parameters,
            model.layout.specs.find((spec) => spec.name === name)!,
          ),
        ]),
      );
    const some = await gradientsOf({
      parameters: part(trainable),
      trainable,
      frozen: { layout: frozen, parameters: part(frozen) },
    });
    expect(some.layout).toBe(trainable);
    expect(trainable.specs).toHaveLength(8);
    expect(some.lossSum).toBe(whole.lossSum);
    for (const spec of trainable.specs) {
      const expected = viewOf(
        whole.gradients,
        whole.layout.specs.find(({ name }) => name === spec.name)!,
      );
      expect(viewOf(some.gradients, spec), spec.name).toEqual(expected);
    }
  },
);

test("refuses weights that are not all of the model's", async () => {
  const { model, parameters } = optionsFor(small);
  const { trainable } = splitLayout(model.layout, (name) => name.includes(".h.1."));
  const creating = createEngine({ kind: "onnx", model, threads: 1, trainable, parameters });
  await expect(creating).rejects.toThrow(`trained parameters were given, ${model.name} has ${trainable.size} of them`);
  const short = createEngine({
    kind: "onnx",
    model,
    threads: 1,
    trainable,
    parameters: new Float32Array(trainable.size),
  });
  await expect(short).rejects.toThrow("12 tensors are trained or frozen");
});
