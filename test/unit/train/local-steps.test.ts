// A round of local steps against the same steps taken by hand, on an engine whose gradients are known: those of the loss
// sum over tokens of |w - target|^2 / 2.

import { expect, test } from "vitest";
import type { Engine } from "../../../worker/engine/engine.ts";
import { createLayout } from "../../../worker/model/parameters.ts";
import type { Model } from "../../../worker/model/model.ts";
import { createPlainExchange } from "../../../worker/train/gradient-exchange.ts";
import { createLocalSteps, outerOptimizer } from "../../../worker/train/local-steps.ts";
import { clipFactor, createOptimizer, globalNorm } from "../../../worker/train/optimizer.ts";

const trainable = createLayout([{ name: "w", shape: [5, 4] }]);
const settings = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 } as const;
const length = 3;
const signal = new AbortController().signal;
const seen: unknown[] = [];

/** Every token's target is its id in all elements. */
function computingOn(parameters: Float32Array, failAt = Infinity) {
  const engine = {
    gradients: (batch, { gradients, weight, accumulate, draw }) => {
      seen.push({ step: draw?.step, firstRow: draw?.firstRow, rows: batch.rows });
      if (seen.length === failAt) throw new Error("the engine stops");
      if (!accumulate) gradients.fill(0);
      for (const id of batch.inputIds) parameters.forEach((value, i) => (gradients[i]! += weight * (value - id)));
      return Promise.resolve({ lossSum: batch.rows, tokens: batch.rows * length });
    },
  } as Partial<Engine> as Engine;
  const model = { head: { kind: "causal-lm" } } as Partial<Model> as Model;
  return { engine, model, unchangedBefore: () => undefined };
}

const ids = Int32Array.from({ length: 7 * length }, (_, i) => i % 4);
const bytes = Buffer.from(ids.buffer);
const none = Buffer.alloc(0);
const plan = {
  ...{ generation: 1, step: 6, microbatch: 2, globalTokens: 30, clip: 0.5, verify: false, firstRow: 3, batchRows: 10 },
  learningRates: [0.1, 0.2, 0.3],
  shard: { rows: 7, length, inputIds: bytes, targets: bytes, attentionMask: none, tokenTypeIds: none },
};

function start(): Float32Array {
  return Float32Array.from({ length: trainable.size }, (_, i) => i / 10);
}

test("gives the weighted distance that its steps came, and leaves the weights where they were", async () => {
  const parameters = start();
  const exchange = createPlainExchange(new Float32Array(trainable.size));
  const local = createLocalSteps({ trainable, parameters }, settings);
  // 7 rows in 3 steps: 2, 2 and 3 of them.
  const walked = start();
  const optimizer = createOptimizer(settings, trainable);
  for (const [index, [begin, end]] of (
    [
      [0, 2],
      [2, 4],
      [4, 7],
    ] as const
  ).entries()) {
    const mine = ids.subarray(begin * length, end * length);
    const mean = walked.map((value) => mine.reduce((sum, id) => sum + value - id, 0) / mine.length);
    const factor = clipFactor(globalNorm(mean), plan.clip);
    optimizer.step(walked, mean, { learningRate: plan.learningRates[index]!, clipFactor: factor });
  }
  // A round that is not committed, or forgotten, is computed with the same moments again.
  for (const round of [1, 2, 3]) {
    seen.length = 0;
    if (round === 3) {
      local.commit();
      local.forget();
    }
    const { total } = await local.run(computingOn(parameters), exchange, plan, signal);
    expect([total.tokens, total.lossSum], `round ${round}`).toEqual([21, 7]);
    expect(parameters).toEqual(start());
    const expected = start().map((value, i) => ((value - walked[i]!) * 21) / 30);
    exchange.gradients.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
    expect(seen).toEqual([
      { step: 4, firstRow: 3, rows: 2 },
      { step: 5, firstRow: 5, rows: 2 },
      { step: 6, firstRow: 7, rows: 2 },
      { step: 6, firstRow: 9, rows: 1 },
    ]);
  }
});

test("the moments of a committed round go on in the next one", async () => {
  const parameters = start();
  const exchange = createPlainExchange(new Float32Array(trainable.size));
  const local = createLocalSteps({ trainable, parameters }, settings);
  await local.run(computingOn(parameters), exchange, plan, signal);
  const first = exchange.gradients.slice();
  local.commit();
  await local.run(computingOn(parameters), exchange, plan, signal);
  const second = exchange.gradients.slice();
  expect(second).not.toEqual(first);
  await local.run(computingOn(parameters), exchange, plan, signal);
  expect(exchange.gradients).toEqual(second);
});

test("a round that breaks off leaves the weights where they were", async () => {
  const parameters = start();
  const exchange = createPlainExchange(new Float32Array(trainable.size));
  const local = createLocalSteps({ trainable, parameters }, settings);
  seen.length = 0;
  await expect(local.run(computingOn(parameters, 3), exchange, plan, signal)).rejects.toThrow("the engine stops");
  expect(parameters).toEqual(start());
  const over = AbortSignal.abort(new Error("the generation is over"));
  await expect(local.run(computingOn(parameters), exchange, plan, over)).rejects.toThrow("the generation is over");
  expect(parameters).toEqual(start());
});

test("a worker with fewer rows than steps takes fewer, and one without rows none", async () => {
  const parameters = start();
  const exchange = createPlainExchange(new Float32Array(trainable.size).fill(7));
  const local = createLocalSteps({ trainable, parameters }, settings);
  seen.length = 0;
  const two = { ...plan.shard, rows: 2, inputIds: bytes.subarray(0, 24), targets: bytes.subarray(0, 24) };
  const { total } = await local.run(computingOn(parameters), exchange, { ...plan, shard: two }, signal);
  expect([total.tokens, seen.length]).toEqual([6, 2]);
  const { total: idle } = await local.run(computingOn(parameters), exchange, { ...plan, shard: null }, signal);
  expect([idle.tokens, seen.length]).toEqual([0, 2]);
});

test("the outer optimizer is momentum of Nesterov, if rounds are longer than a step", () => {
  const outer = { learning_rate: 0.7, momentum: 0.9 };
  expect(outerOptimizer({ local_steps: 1, outer })).toBeUndefined();
  expect(outerOptimizer({ local_steps: 2, outer })).toMatchObject({ name: "sgd", momentum: 0.9, nesterov: true });
  expect(outerOptimizer({ local_steps: 2, outer: { ...outer, momentum: 0 } })).toMatchObject({ nesterov: false });
});
