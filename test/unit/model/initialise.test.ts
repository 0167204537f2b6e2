import { expect, test } from "vitest";
import { createModel } from "../../../worker/model/architectures.ts";
import { initialiseParameters } from "../../../worker/model/initialise.ts";
import type { Model } from "../../../worker/model/model.ts";
import { viewOf } from "../../../worker/model/parameters.ts";

const modelOf = (layers: number): Model =>
  createModel({ model_type: "gpt2", vocab_size: 512, n_positions: 64, n_embd: 64, n_layer: layers, n_head: 4 }, "test");

function tensors(layers: number, seed: number): Map<string, Float32Array> {
  const model = modelOf(layers);
  const { layout } = model;
  const parameters = new Float32Array(layout.size).fill(NaN);
  initialiseParameters(model, layout, parameters, seed);
  return new Map(layout.specs.map((spec) => [spec.name, viewOf(parameters, spec)]));
}

function deviation(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

test("draws matrices with deviation 0.02, and residual projections with 0.02 / sqrt(2 n_layer)", () => {
  for (const [name, values] of tensors(8, 1)) {
    if (name.endsWith(".bias") || /ln_/.test(name)) continue;
    const expected = name.endsWith("c_proj.weight") ? 0.02 / 4 : 0.02;
    // The sample deviation of n normals lies within 5 / sqrt(2n) of the true one.
    expect(Math.abs(deviation(values) / expected - 1), name).toBeLessThan(5 / Math.sqrt(2 * values.length));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean), name).toBeLessThan((5 * expected) / Math.sqrt(values.length));
  }
});

test("starts norms at 1 and biases at 0", () => {
  for (const [name, values] of tensors(2, 1)) {
    if (name.endsWith(".bias"))
      expect(
        values.every((value) => value === 0),
        name,
      ).toBe(true);
    else if (/ln_.*weight$/.test(name))
      expect(
        values.every((value) => value === 1),
        name,
      ).toBe(true);
  }
});

test("gives the same weights for the same seed, others for another, and a stream of its own to every parameter", () => {
  const name = "transformer.h.1.mlp.c_fc.weight";
  expect(tensors(2, 7).get(name)).toEqual(tensors(2, 7).get(name));
  expect(tensors(2, 7).get(name)).not.toEqual(tensors(2, 8).get(name));
  expect(tensors(2, 7).get(name)).toEqual(tensors(3, 7).get(name)); // not shifted by the blocks around it
  const firsts = [...tensors(4, 7)]
    .filter(([key]) => /(wte|wpe|c_attn|c_fc)\.weight/.test(key))
    .map(([, values]) => values[0]);
  expect(new Set(firsts).size).toBe(firsts.length);
});
