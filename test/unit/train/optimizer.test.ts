// AdamW against a float64 reference written from the paper's formulas (torch.optim.AdamW's order), clipping, state.
// The trajectory of a whole model is in gpt2-trajectory.test.ts.

import { describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { createRandom } from "../../../common/random.ts";
import { createLayout } from "../../../worker/model/parameters.ts";
import { clipFactor, createOptimizer, globalNorm, type OptimizerSettings } from "../../../worker/train/optimizer.ts";

const settings: OptimizerSettings = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

// Lengths around the SIMD width (4) and the block (2048), decaying and not.
const layout = createLayout([
  { name: "one", shape: [1] },
  { name: "matrix", shape: [3, 5] },
  { name: "bias", shape: [7] },
  { name: "blocks", shape: [4097, 1] },
  { name: "cube", shape: [2, 2, 2] },
  { name: "long bias", shape: [2048] },
]);

function randomArray(stream: string, deviation: number): Float32Array {
  const random = createRandom(1, stream);
  return new Float32Array(layout.size).map(() => random.normal() * deviation);
}

/** One element in float64, from its gradients at each step. */
function reference(start: number, gradients: readonly number[], rates: readonly number[], clip: number, decay: number) {
  let [p, m, v] = [start, 0, 0];
  for (const [index, raw] of gradients.entries()) {
    const [g, t, rate] = [raw * clip, index + 1, rates[index] ?? 0];
    p *= 1 - rate * decay;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    p -= (rate * (m / (1 - 0.9 ** t))) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
  }
  return { p, m, v };
}

describe("AdamW", () => {
  test("follows the float64 reference on every element, with decay on two or more dimensions only", () => {
    const rates = [0, 1e-2, 2e-2, 1e-2, 5e-3, 3e-3];
    const start = randomArray("start", 1);
    const gradients = rates.map((_, step) => randomArray(`gradients ${step}`, 0.1));
    const parameters = start.slice();
    const optimizer = createOptimizer(settings, layout);
    for (const [step, learningRate] of rates.entries()) {
      optimizer.step(parameters, gradients[step]!, { learningRate, clipFactor: 0.7 });
    }
    const { buffers } = optimizer.state();
    for (const { shape, offset, size } of layout.specs) {
      for (let i = offset; i < offset + size; i++) {
        const history = gradients.map((gradient) => gradient[i]!);
        const { p, m, v } = reference(start[i]!, history, rates, 0.7, shape.length >= 2 ? 0.1 : 0);
        expect(Math.abs(parameters[i]! - p)).toBeLessThan(2e-6 * (1 + Math.abs(p)));
        expect(Math.abs(buffers["exp_avg"]![i]! - m)).toBeLessThan(2e-8);
        expect(Math.abs(buffers["exp_avg_sq"]![i]! - v)).toBeLessThan(1e-6 * v + 1e-12);
      }
    }
  });

  test("leaves weights alone at learning rate 0, but not the moments and the step count", () => {
    const optimizer = createOptimizer(settings, layout);
    const start = randomArray("start", 1);
    const parameters = start.slice();
    optimizer.step(parameters, randomArray("gradients", 1), { learningRate: 0, clipFactor: 1 });
    expect(parameters).toEqual(start);
    expect(optimizer.state().step).toBe(1);
    expect(globalNorm(optimizer.state().buffers["exp_avg"]!)).toBeGreaterThan(0);
  });

  test("does not touch the gradients", () => {
    const gradients = randomArray("gradients", 1);
    const before = gradients.slice();
    createOptimizer(settings, layout).step(randomArray("start", 1), gradients, { learningRate: 1, clipFactor: 0.5 });
    expect(gradients).toEqual(before);
  });

  test("gives the same bits after its state is saved and loaded in the middle", () => {
    const run = (interrupted: boolean): Float32Array => {
      const parameters = randomArray("start", 1);
      let optimizer = createOptimizer(settings, layout);
      for (let step = 0; step < 6; step++) {
        if (interrupted && step === 3) {
          const { name, step: done, buffers } = structuredClone(optimizer.state());
          optimizer = createOptimizer(settings, layout);
          optimizer.load({ name, step: done, buffers });
        }
        optimizer.step(parameters, randomArray(`gradients ${step}`, 0.1), { learningRate: 1e-2, clipFactor: 1 });
      }
      return parameters;
    };
    expect(run(true)).toEqual(run(false));
  });

  test("refuses the state of another model and says both sizes", () => {
    const other = createOptimizer(settings, createLayout([{ name: "small", shape: [3] }]));
    const load = (): void => createOptimizer(settings, layout).load(other.state());
    expect(load).toThrow(RingtuneError);
    expect(load).toThrow(new RegExp(`exp_avg has 3 elements, the model has ${layout.size}`));
  });

  test("keeps a weight finite whose gradient has always been zero", () => {
    const parameters = new Float32Array(layout.size).fill(1);
    const optimizer = createOptimizer(settings, layout);
    optimizer.step(parameters, new Float32Array(layout.size), { learningRate: 1e-3, clipFactor: 1 });
    expect(parameters[0]).toBe(1);
    expect(parameters[1]).toBe(Math.fround(Math.fround(1 - 1e-4)));
  });
});

describe("clipping", () => {
  test("accumulates the norm in double precision", () => {
    const ones = new Float32Array(20_000_003).fill(1); // a float32 sum would stop at 2^24
    expect(globalNorm(ones)).toBe(Math.sqrt(20_000_003));
    expect(globalNorm(Float32Array.of(3, 0, 0, 0, 4))).toBe(5);
    expect(globalNorm(new Float32Array(0))).toBe(0);
    expect(globalNorm(Float32Array.of(3e38, 3e38)) / Math.fround(3e38)).toBeCloseTo(Math.SQRT2, 12);
  });

  test("scales as torch.nn.utils.clip_grad_norm_ does", () => {
    expect(clipFactor(4, 1)).toBe(1 / (4 + 1e-6));
    expect(clipFactor(0.5, 1)).toBe(1);
    expect(clipFactor(100, null)).toBe(1);
  });

  test("refuses a norm that is not finite", () => {
    expect(() => clipFactor(NaN, 1)).toThrow(/gradient norm is NaN/);
    expect(() => clipFactor(globalNorm(Float32Array.of(1, -Infinity)), null)).toThrow(/gradient norm is Infinity/);
  });
});
