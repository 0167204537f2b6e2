// The optimizers against torch.optim (1.13, in float64; test/golden/optimizers.json), clipping, state.
// The trajectory of a whole model is in gpt2-trajectory.test.ts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
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

interface Run {
  readonly settings: OptimizerSettings;
  readonly decayed: Outcome;
  readonly plain: Outcome;
}

/** Of one parameter of six elements, after all steps. */
interface Outcome {
  readonly parameters: readonly number[];
  readonly state: Readonly<Record<string, readonly number[]>>;
}

interface Golden {
  readonly start: readonly number[];
  /** Before clipping. */
  readonly gradients: readonly (readonly number[])[];
  readonly rates: readonly number[];
  readonly clip: number;
  readonly runs: readonly Run[];
}

const golden = JSON.parse(readFileSync(join(import.meta.dirname, "../../golden/optimizers.json"), "utf8")) as Golden;
const runs = golden.runs.map((run) => ({ ...run, title: Object.values(run.settings).join(" ") }));

/** The six elements over and over. */
function tiled(values: readonly number[]): Float32Array {
  return new Float32Array(layout.size).map((_, i) => values[i % values.length]!);
}

describe("every optimizer", () => {
  test.each(runs)(
    "$title follows torch.optim in float64 on every element, with decay on two or more dimensions only",
    (run) => {
      const parameters = tiled(golden.start);
      const optimizer = createOptimizer(run.settings, layout);
      for (const [step, learningRate] of golden.rates.entries()) {
        optimizer.step(parameters, tiled(golden.gradients[step]!), { learningRate, clipFactor: golden.clip });
      }
      const { buffers } = optimizer.state();
      expect(Object.keys(buffers).sort()).toEqual(Object.keys(run.plain.state).sort());
      for (const { shape, offset, size } of layout.specs) {
        const expected = shape.length >= 2 ? run.decayed : run.plain;
        for (let i = offset; i < offset + size; i++) {
          const element = i % golden.start.length;
          const p = expected.parameters[element]!;
          expect(Math.abs(parameters[i]! - p)).toBeLessThan(1e-6 * (1 + Math.abs(p)));
          for (const [slot, values] of Object.entries(expected.state)) {
            const value = values[element]!;
            const largest = Math.max(...values.map(Math.abs)); // for what is a sum of numbers that cancel
            expect(Math.abs(buffers[slot]![i]! - value)).toBeLessThan(1e-6 * Math.abs(value) + 1e-7 * largest);
          }
        }
      }
    },
  );

  test.each(runs)("$title gives the same bits after its state is saved and loaded in the middle", ({ settings }) => {
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

  test("sgd without momentum keeps nothing", () => {
    const plain = createOptimizer({ name: "sgd", momentum: 0, nesterov: false, weight_decay: 0 }, layout);
    expect(plain.state().buffers).toEqual({});
  });
});

describe("AdamW", () => {
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
