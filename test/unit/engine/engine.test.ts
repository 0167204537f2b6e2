// The contract of every engine with every architecture and head, against float64 numbers that were computed
// independently (test/golden).

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import type { Engine, Microbatch } from "../../../worker/engine/engine.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { tf } from "../../../worker/model/tf.ts";
import { contractEngines, hasWebgpu, repeatsExactly, withoutWebgpu } from "../../support/engines.ts";
import { goldenNames, readGolden, rowsOf } from "./golden.ts";

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const distance = (a: Float32Array, b: Float32Array): number => norm(a.map((value, i) => value - b[i]!));

test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

test("ONNX Runtime's copies of the gradients are freed without a garbage collection", async () => {
  const { model, batch, parameters } = readGolden("gpt2");
  const engine = await createEngine({ kind: "onnx", threads: 1, parameters: parameters(), model });
  const gradients = new Float32Array(model.layout.size);
  const step = (): Promise<unknown> => engine.gradients(batch, { weight: 1, accumulate: false, gradients });
  await step();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 8; i++) await step();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(gradients.byteLength);
  await engine.close();
});

const cases = contractEngines.flatMap((choice) => goldenNames.map((name) => ({ ...choice, choice, name })));

describe.each(cases)("$name on $kind $device with $threads thread(s)", ({ choice, kind, device, threads, name }) => {
  const { model, expected, batch, parameters: readParameters } = readGolden(name);
  const { layout, outputs } = model;
  const parameters = readParameters();
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
    const at = (index: number): Float32Array => logits.subarray(index * outputs, (index + 1) * outputs);
    const errors = [
      ...(expected.logits ?? []).map((want, row) => ({ want, have: at(row) })),
      ...(expected.logits_row0 ?? []).map((want, position) => ({ want, have: at(position) })),
      ...(expected.logits_last_position ?? []).map((want, row) => ({
        want,
        have: at(row * batch.length + expected.last_position![row]!),
      })),
    ].flatMap(({ want, have }) => want.map((value, i) => Math.abs(value - have[i]!)));
    expect(errors.length).toBeGreaterThan(0);
    expect(Math.max(...errors)).toBeLessThan(2e-5);
  });

  test("computes every reference gradient norm to 1e-4 relative", async () => {
    const gradients = await gradientsOf(batch, 1 / expected.loss_count);
    for (const spec of layout.specs) {
      const have = norm(viewOf(gradients, spec));
      if (expected.zero_grad_parameters.includes(spec.name)) expect(have, spec.name).toBeLessThan(1e-6);
      else expect(Math.abs(have / expected.grad_norms[spec.name]! - 1), spec.name).toBeLessThan(1e-4);
    }
    expect(Math.abs(norm(gradients) / expected.grad_norm - 1)).toBeLessThan(1e-4);
  });

  // Once for every model: the norms above hold the other engines to the same gradients.
  const isFirst = kind === "onnx" && device === "cpu" && threads === 1;
  test.runIf(isFirst)("gives the derivative of the loss, by central differences", async () => {
    const gradients = await gradientsOf(batch);
    // The parameter of each kind with the largest gradient, where rounding of the loss matters least.
    const known = new Set(expected.zero_grad_parameters);
    for (const spec of layout.specs.filter(({ name }) => !/\.1\./.test(name) && !known.has(name))) {
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

  test("may keep the sum to itself while more microbatches follow", async () => {
    const whole = await gradientsOf(batch, 0.01);
    const sum = new Float32Array(layout.size).fill(Number.NaN);
    const results = [];
    for (const row of [0, 1, 2]) {
      const options = { weight: 0.01, accumulate: row > 0, more: row < 2, gradients: sum };
      results.push(
        await engine.gradients(rowsOf(batch, row, row + 1), { ...options, unchanged: row > 0 ? "all" : undefined }),
      );
    }
    expect(distance(sum, whole) / norm(whole)).toBeLessThan(1e-5);
    expect(results.reduce((total, { tokens }) => total + tokens, 0)).toBe(expected.loss_count);
    const abandoned = { weight: 7, accumulate: false, more: true, gradients: sum };
    await engine.gradients(rowsOf(batch, 0, 1), abandoned);
    await engine.gradients(batch, { weight: 0.01, accumulate: false, gradients: sum });
    expect(distance(sum, whole) / norm(whole)).toBeLessThan(1e-5);
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

  test("does not see padding, what other rows hold, or, when it is causal, what comes after a token", async () => {
    const [all, first] = [await engine.logits(batch), await engine.logits(rowsOf(batch, 0, 1))];
    expect(distance(all.slice(0, first.length), first)).toBeLessThan(1e-4);
    // The last row is padded at its end: another token there changes nothing before.
    expect(batch.attentionMask!.at(-1)).toBe(0);
    const padding = await engine.logits({ ...batch, inputIds: batch.inputIds.with(-1, 3) });
    const real = model.head.kind === "sequence-classification" ? all.length : all.length - outputs;
    expect(distance(padding.slice(0, real), all.slice(0, real))).toBe(0);
    const later = await engine.logits({ ...batch, inputIds: batch.inputIds.with(batch.length - 1, 3) });
    const before = distance(later.slice(0, outputs), all.slice(0, outputs));
    if (model.causal) expect(before).toBe(0);
    else expect(before).toBeGreaterThan(1e-4);
  });

  test("gives a loss and gradients of zero when every target is masked", async () => {
    const masked = { ...batch, targets: new Int32Array(batch.targets.length).fill(-100) };
    const gradients = new Float32Array(layout.size).fill(Number.NaN);
    const result = await engine.gradients(masked, { weight: 1, accumulate: false, gradients });
    expect(result).toEqual({ lossSum: 0, tokens: 0 });
    expect(gradients.every((value) => value === 0)).toBe(true);
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
});

describe.each(contractEngines)("gpt2 on $kind $device with $threads thread(s)", ({ kind, device, threads }) => {
  const { model, batch, parameters: readParameters } = readGolden("gpt2");
  const { layout, vocabularySize } = model;
  let engine: Engine;

  beforeAll(async () => {
    engine = await createEngine({ kind, device, threads, parameters: readParameters(), model });
  });
  afterAll(() => engine.close());

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
      const row = Array.from(logits.subarray(i * vocabularySize, (i + 1) * vocabularySize));
      const largest = Math.max(...row);
      return sum + largest + Math.log(row.reduce((total, x) => total + Math.exp(x - largest), 0)) - row[target]!;
    }, 0);
    expect(reference / batch.targets.length).toBeGreaterThan(100);
    expect(lossSum / reference).toBeCloseTo(1, 5);
  });

  test("names the token id that is not in the vocabulary", async () => {
    const wrong = { ...batch, inputIds: batch.inputIds.with(batch.length + 2, 96) };
    await expect(engine.loss(wrong)).rejects.toMatchObject({
      code: "model_mismatch",
      message: expect.stringContaining("token id 96 in row 1, position 2 is outside the vocabulary of 96") as string,
    });
    const negative = { ...batch, targets: batch.targets.with(0, -3) };
    await expect(engine.loss(negative)).rejects.toThrow("target -3 in row 0, position 0");
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

describe("a batch that the model can't have is refused, with row and position:", () => {
  const engineOf = async (name: (typeof goldenNames)[number]) => {
    const { model, batch, parameters } = readGolden(name);
    return { batch, engine: await createEngine({ kind: "onnx", threads: 1, parameters: parameters(), model }) };
  };

  test("labels", async () => {
    const { engine, batch } = await engineOf("bert-seqcls");
    const wrong = { ...batch, targets: Int32Array.of(0, 3, 1) };
    await expect(engine.loss(wrong)).rejects.toThrow("target 3 in row 1 is not one of the model's 3 labels (0 to 2)");
    await expect(engine.loss({ ...batch, targets: new Int32Array(60) })).rejects.toThrow(
      "needs 60 token ids and 3 targets, not 60 token ids and 60 targets",
    );
    await engine.close();
    const tokens = await engineOf("bert-tokcls");
    const tagged = { ...tokens.batch, targets: tokens.batch.targets.with(2, 5) };
    await expect(tokens.engine.loss(tagged)).rejects.toThrow(
      "target 5 in row 0, position 2 is not one of the model's 5",
    );
    await tokens.engine.close();
  });

  test("masks and token types", async () => {
    const { engine, batch } = await engineOf("bert-seqcls");
    const [mask, types] = [batch.attentionMask!, batch.tokenTypeIds!];
    const refused = (change: Partial<Microbatch>) => expect(engine.loss({ ...batch, ...change })).rejects;
    await refused({ attentionMask: mask.with(3, 2) }).toThrow("the attention mask is 2 in row 0, position 3");
    await refused({ attentionMask: mask.with(3, 0) }).toThrow("row 0 has padding before position 4");
    await refused({ attentionMask: mask.with(20, 0) }).toThrow("row 1 has padding before position 1");
    await refused({ attentionMask: mask.slice(1) }).toThrow("needs 60 numbers as its attention mask, not 59");
    await refused({ tokenTypeIds: types.with(21, 2) }).toThrow("token type 2 in row 1, position 1 is not one of the 2");
    await engine.close();
    const gpt2 = await engineOf("gpt2");
    const typed = { ...gpt2.batch, tokenTypeIds: new Int32Array(60).fill(1) };
    await expect(gpt2.engine.loss(typed)).rejects.toThrow("token type 1 in row 0, position 0 is not one of the 0");
    await gpt2.engine.close();
  });
});
