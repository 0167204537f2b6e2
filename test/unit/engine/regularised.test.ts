// Gradients of regularised training on every engine, against float64 numbers of PyTorch (test/golden/make_regularised.py).

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import type { Engine } from "../../../worker/engine/engine.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { viewOf, type ParameterLayout } from "../../../worker/model/parameters.ts";
import { contractEngines } from "../../support/engines.ts";
import { goldenNames, readGolden, type GoldenName } from "./golden.ts";

interface Case {
  readonly smoothing: number;
  readonly loss: number;
  readonly grad_norms: Readonly<Record<string, number>>;
}

const golden = JSON.parse(readFileSync(new URL("../../golden/regularised.json", import.meta.url), "utf8")) as {
  readonly models: Readonly<Record<GoldenName, { readonly smoothed: Case }>>;
};

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** To 1e-4 relative, and 1e-6 where the derivative is 0 (key biases). */
function expectNorms(layout: ParameterLayout, gradients: Float32Array, expected: Case["grad_norms"]): void {
  expect(layout.specs.map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
  for (const spec of layout.specs) {
    const [have, want] = [norm(viewOf(gradients, spec)), expected[spec.name]!];
    expect(Math.abs(have - want), spec.name).toBeLessThan(1e-4 * want + 1e-6);
  }
}

const cases = contractEngines.flatMap((choice) => goldenNames.map((name) => ({ ...choice, name })));

describe.each(cases)("$name on $kind $device with $threads thread(s)", ({ kind, device, threads, name }) => {
  const { model, batch, expected, parameters } = readGolden(name);
  const { smoothed } = golden.models[name];
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
