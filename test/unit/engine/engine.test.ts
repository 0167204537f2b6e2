// The contract of every engine, against float64 numbers that were computed independently (test/golden/gpt2).

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import type { Engine, Microbatch } from "../../../worker/engine/engine.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { tf } from "../../../worker/model/tf.ts";
import { contractEngines, hasWebgpu, repeatsExactly, withoutWebgpu } from "../../support/engines.ts";
import { config, expected, fixtureBatch, layout, model, readParameters, rowsOf } from "./gpt2-fixture.ts";

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const distance = (a: Float32Array, b: Float32Array): number => norm(a.map((value, i) => value - b[i]!));

test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

describe.each(contractEngines)("engine $kind on $device with $threads thread(s)", (choice) => {
  const { kind, device, threads } = choice;
  const parameters = readParameters();
  const batch = fixtureBatch();
  let engine: Engine;

  beforeAll(async () => {
    engine = await createEngine({ kind, device, threads, parameters, model });
  });
  afterAll(() => engine.close());

  const gradientsOf = async (microbatch: Microbatch, weight = 1): Promise<Float32Array> => {
    const gradients = new Float32Array(layout.size).fill(Number.NaN);
    await engine.gradients(microbatch, { weight, accumulate: false, gradients });
    return gradients;
  };

  test("computes the reference loss to 1e-4 relative", async () => {
    const { lossSum, tokens } = await engine.loss(batch);
    expect(tokens).toBe(expected.loss_count);
    expect(Math.abs(lossSum / tokens / expected.loss - 1)).toBeLessThan(1e-4);
  });

  test("computes the reference logits to 2e-5", async () => {
    const logits = await engine.logits(batch);
    const at = (row: number, position: number): Float32Array => {
      const start = (row * batch.length + position) * config.vocab_size;
      return logits.subarray(start, start + config.vocab_size);
    };
    const errors = [
      ...expected.logits_row0.map((want, position) => ({ want, have: at(0, position) })),
      ...expected.logits_last_position.map((want, row) => ({ want, have: at(row, expected.last_position[row]!) })),
    ].flatMap(({ want, have }) => want.map((value, i) => Math.abs(value - have[i]!)));
    expect(Math.max(...errors)).toBeLessThan(2e-5);
  });

  test("computes every reference gradient norm to 1e-4 relative", async () => {
    const gradients = await gradientsOf(batch, 1 / expected.loss_count);
    for (const spec of layout.specs) {
      const error = norm(viewOf(gradients, spec)) / expected.grad_norms[spec.name]! - 1;
      expect(Math.abs(error), spec.name).toBeLessThan(1e-4);
    }
    expect(Math.abs(norm(gradients) / expected.grad_norm - 1)).toBeLessThan(1e-4);
  });

  test("gives the derivative of the loss, by central differences", async () => {
    const gradients = await gradientsOf(batch);
    // The parameter of each kind with the largest gradient, where rounding of the loss matters least.
    for (const spec of layout.specs.filter(({ name }) => !name.includes(".h.1."))) {
      const slope = viewOf(gradients, spec);
      const index = slope.reduce((best, value, i) => (Math.abs(value) > Math.abs(slope[best]!) ? i : best), 0);
      const values = viewOf(parameters, spec);
      const before = values[index]!;
      const lossAt = async (value: number): Promise<number> => {
        values[index] = value;
        return (await engine.loss(batch)).lossSum;
      };
      const h = 0.01;
      const difference = ((await lossAt(before + h)) - (await lossAt(before - h))) / (2 * h);
      values[index] = before;
      expect(Math.abs(difference / slope[index]! - 1), spec.name).toBeLessThan(0.02);
    }
  });

  test("accumulates microbatches to the gradients of the whole batch", async () => {
    const whole = await gradientsOf(batch, 0.01);
    const sum = new Float32Array(layout.size).fill(Number.NaN);
    const parts = [rowsOf(batch, 0, 1), rowsOf(batch, 1, 3)];
    const results = [];
    for (const [i, part] of parts.entries()) {
      results.push(await engine.gradients(part, { weight: 0.01, accumulate: i > 0, gradients: sum }));
    }
    expect(distance(sum, whole) / norm(whole)).toBeLessThan(1e-5);
    expect(results[0]!.tokens + results[1]!.tokens).toBe(expected.loss_count);
    const { lossSum } = await engine.loss(batch);
    expect((results[0]!.lossSum + results[1]!.lossSum) / lossSum).toBeCloseTo(1, 6);
  });

  test("scales gradients, not losses, by the weight", async () => {
    const [one, third] = [await gradientsOf(batch, 1), await gradientsOf(batch, 1 / 3)];
    expect(
      distance(
        one,
        third.map((value) => 3 * value),
      ) / norm(one),
    ).toBeLessThan(1e-5);
    const gradients = new Float32Array(layout.size);
    const weighted = await engine.gradients(batch, { weight: 1 / 3, accumulate: false, gradients });
    expect(weighted.lossSum / (await engine.loss(batch)).lossSum).toBeCloseTo(1, 6);
  });

  test("ignores what comes after a token and what is in other rows", async () => {
    const [all, first] = [await engine.logits(batch), await engine.logits(rowsOf(batch, 0, 1))];
    expect(distance(all.slice(0, first.length), first)).toBeLessThan(1e-4);
    const changed = { ...batch, inputIds: batch.inputIds.with(batch.length - 1, 3) };
    const before = (batch.length - 1) * config.vocab_size;
    expect(distance((await engine.logits(changed)).slice(0, before), all.slice(0, before))).toBe(0);
  });

  test("gives a loss and gradients of zero when every target is masked", async () => {
    const masked = { ...batch, targets: new Int32Array(batch.targets.length).fill(-100) };
    const gradients = new Float32Array(layout.size).fill(Number.NaN);
    const result = await engine.gradients(masked, { weight: 1, accumulate: false, gradients });
    expect(result).toEqual({ lossSum: 0, tokens: 0 });
    expect(gradients.every((value) => value === 0)).toBe(true);
  });

  test("stays exact when the model is certain and wrong", async () => {
    const scaled = readParameters();
    const spec = layout.specs.find(({ name }) => name === "transformer.ln_f.weight")!;
    for (const [i, value] of viewOf(scaled, spec).entries()) viewOf(scaled, spec)[i] = 400 * value;
    const certain = await createEngine({ kind, device, threads, parameters: scaled, model });
    const logits = await certain.logits(batch);
    const { lossSum } = await certain.loss(batch);
    await certain.close();
    const reference = batch.targets.reduce((sum, target, i) => {
      if (target === -100) return sum;
      const row = Array.from(logits.subarray(i * config.vocab_size, (i + 1) * config.vocab_size));
      const largest = Math.max(...row);
      return sum + largest + Math.log(row.reduce((total, x) => total + Math.exp(x - largest), 0)) - row[target]!;
    }, 0);
    expect(reference / batch.targets.length).toBeGreaterThan(100);
    expect(lossSum / reference).toBeCloseTo(1, 5);
  });

  test("follows weights that the caller changes", async () => {
    const before = await engine.loss(batch);
    const changed = parameters.slice();
    for (let i = 0; i < parameters.length; i++) parameters[i]! *= 0.5;
    const halved = await engine.loss(batch);
    parameters.set(changed);
    expect(halved.lossSum).not.toBeCloseTo(before.lossSum, 2);
    expect(await engine.loss(batch)).toEqual(before);
  });

  test(repeatsExactly(choice) ? "repeats itself bit for bit" : "repeats itself to 1e-6 relative", async () => {
    const [first, second] = [await gradientsOf(batch), await gradientsOf(batch)];
    if (repeatsExactly(choice)) expect(Buffer.from(first.buffer).equals(Buffer.from(second.buffer))).toBe(true);
    else expect(distance(first, second) / norm(first)).toBeLessThan(1e-6);
  });

  test("keeps no tensors after a call", async () => {
    await gradientsOf(batch);
    const { numTensors } = tf.memory();
    await gradientsOf(rowsOf(batch, 0, 2));
    await engine.loss(batch);
    await engine.logits(batch);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test("names the token id that is not in the vocabulary", async () => {
    const wrong = { ...batch, inputIds: batch.inputIds.with(batch.length + 2, 96) };
    await expect(engine.loss(wrong)).rejects.toMatchObject({
      code: "model_mismatch",
      message: expect.stringContaining("token id 96 in row 1, position 2 is outside the vocabulary of 96") as string,
    });
    const negative = { ...batch, targets: batch.targets.with(0, -3) };
    await expect(gradientsOf(negative)).rejects.toThrow("target -3 in row 0, position 0");
  });

  test("refuses sequences longer than the model's positions", async () => {
    const long = { rows: 1, length: 65, inputIds: new Int32Array(65), targets: new Int32Array(65) };
    await expect(engine.logits(long)).rejects.toThrow("sequences of 65 tokens are longer than the 64 positions");
  });

  test("refuses a batch whose arrays do not have its size", async () => {
    await expect(engine.loss({ ...batch, rows: 2 })).rejects.toThrow(
      "needs 40 of each, not 60 token ids and 60 targets",
    );
  });
});
