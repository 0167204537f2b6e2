// Sampling from known distributions, and the loop around an engine that is a function written down here.

import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import type { Microbatch } from "../../../worker/engine/engine.ts";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import { generateTokens, paddedLength } from "../../../worker/generate/generate.ts";
import { locateModel } from "../../../worker/generate/locate-model.ts";
import { sampleToken } from "../../../worker/generate/sample.ts";
import { readModelDirectory } from "../../../worker/model/huggingface.ts";

const golden = join(import.meta.dirname, "../../golden/gpt2");
const logits = Float32Array.from([0.1, 0.4, 0.3, 0.2], Math.log); // probabilities at temperature 1
const draws = 20_000;

function frequencies(options: { temperature?: number; topK?: number; topP?: number }): number[] {
  const random = createRandom(3, "test");
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < draws; i++) {
    const token = sampleToken(logits, { temperature: 1, topK: 0, topP: 1, ...options }, random);
    counts[token] = (counts[token] ?? 0) + 1;
  }
  return counts.map((count) => count / draws);
}

describe("sampling", () => {
  // 5 standard deviations of a frequency near one half.
  const tolerance = 5 * Math.sqrt(0.25 / draws);
  const cases: [string, Parameters<typeof frequencies>[0], number[]][] = [
    ["follows the model", {}, [0.1, 0.4, 0.3, 0.2]],
    ["sharpens with a low temperature", { temperature: 0.5 }, [1 / 30, 16 / 30, 9 / 30, 4 / 30]],
    ["keeps the k most likely", { topK: 2 }, [0, 4 / 7, 3 / 7, 0]],
    ["allows all when k is larger than the vocabulary", { topK: 99 }, [0.1, 0.4, 0.3, 0.2]],
    ["keeps the smallest set that makes up p", { topP: 0.75 }, [0, 4 / 9, 3 / 9, 2 / 9]],
    ["applies p to what k left", { topK: 2, topP: 0.5 }, [0, 1, 0, 0]],
    ["keeps one token at least", { topP: 1e-9 }, [0, 1, 0, 0]],
    ["takes the most likely at temperature 0", { temperature: 0 }, [0, 1, 0, 0]],
  ];
  test.each(cases)("%s", (_, options, expected) => {
    const found = frequencies(options);
    for (const [token, probability] of expected.entries()) {
      if (probability === 0 || probability === 1) expect(found[token]).toBe(probability);
      else expect(Math.abs((found[token] ?? NaN) - probability)).toBeLessThan(tolerance);
    }
  });

  test("keeps exactly k of equal tokens, the first ones", () => {
    const flat = new Float32Array(10);
    const random = createRandom(1, "test");
    const seen = new Set(
      Array.from({ length: 500 }, () => sampleToken(flat, { temperature: 1, topK: 3, topP: 1 }, random)),
    );
    expect([...seen].sort()).toEqual([0, 1, 2]);
  });

  test("does not overflow on large logits and refuses what is not finite", () => {
    const options = { temperature: 0.01, topK: 0, topP: 1 };
    expect(sampleToken(Float32Array.of(-1e30, 1e30), options, createRandom(1, ""))).toBe(1);
    expect(() => sampleToken(Float32Array.of(0, NaN), options, createRandom(1, ""))).toThrow(/token 1 a logit of NaN/);
  });
});

describe("generation", () => {
  const positions = 40;
  const eosId = 49;

  /** A model that always predicts the last token plus one, and writes down what it saw. */
  function counter(): { engine: { logits(batch: Microbatch): Promise<Float32Array> }; seen: Microbatch[] } {
    const seen: Microbatch[] = [];
    const engine = {
      logits: async (batch: Microbatch) => {
        seen.push(batch);
        const all = new Float32Array(batch.length * 60);
        batch.inputIds.forEach((id, position) => (all[position * 60 + id + 1] = 10));
        return all;
      },
    };
    return { engine, seen };
  }
  const run = async (prompt: number[], count: number) => {
    const { engine, seen } = counter();
    const sampling = { temperature: 0, topK: 0, topP: 1 };
    const random = createRandom(0, "test");
    const tokens: number[] = [];
    const stream = generateTokens(prompt, { engine, positions, vocabSize: 50, eosId, count, sampling, random });
    for await (const token of stream) tokens.push(token);
    return { tokens, seen };
  };

  test("continues the prompt, so many tokens", async () => {
    expect((await run([3, 4], 5)).tokens).toEqual([5, 6, 7, 8, 9]);
    expect((await run([3], 0)).tokens).toEqual([]);
  });

  test("stops at the end of text and does not give it out", async () => {
    expect((await run([45], 100)).tokens).toEqual([46, 47, 48]);
  });

  test("begins an empty prompt with the end-of-text token", async () => {
    const { seen } = await run([], 1);
    expect(seen[0]?.inputIds[0]).toBe(eosId);
  });

  test("draws only tokens that the tokenizer has", async () => {
    expect((await run([eosId], 1)).tokens).toEqual([0]); // the model wants 50, of its 60
  });

  test("sees the last tokens of a prompt that is too long, and slides on", async () => {
    const long = Array.from({ length: 100 }, (_, i) => i % 7);
    const { tokens, seen } = await run(long, 3);
    expect(tokens).toEqual([2, 3, 4]);
    expect([...(seen[0]?.inputIds ?? [])]).toEqual(long.slice(-positions));
    expect([...(seen[2]?.inputIds ?? [])]).toEqual([...long.slice(2 - positions), 2, 3]);
  });

  test("computes few different lengths", async () => {
    const { seen } = await run([0], 48);
    expect([...new Set(seen.map(({ length }) => length))]).toEqual([16, 32, 40]);
    expect(paddedLength(5, 8)).toBe(8);
    expect(paddedLength(17, 1024)).toBe(32);
  });

  test("is what one computation over the whole sequence says, on a real model", async () => {
    const { model, parameters } = await readModelDirectory(golden);
    const engine = await createEngine({ kind: "onnx", model, parameters, threads: 1 });
    const options = { engine, positions: 64, vocabSize: 96, eosId: 95, count: 30, random: createRandom(0, "test") };
    const prompt = [41, 38, 7];
    const tokens: number[] = [...prompt];
    for await (const token of generateTokens(prompt, { ...options, sampling: { temperature: 0, topK: 0, topP: 1 } })) {
      tokens.push(token);
    }
    const length = tokens.length;
    const inputIds = Int32Array.from(tokens);
    const all = await engine.logits({ rows: 1, length, inputIds, targets: new Int32Array(length).fill(-100) });
    for (let t = prompt.length - 1; t < length - 1; t++) {
      const row = all.subarray(t * 96, (t + 1) * 96);
      expect(row.indexOf(Math.max(...row))).toBe(tokens[t + 1]);
    }
    await engine.close();
  });
});

describe("a model is found", () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "ringtune-generate-"))));
  afterEach(async () => rm(folder, { recursive: true }));

  test("in a run by its latest link, or in its own directory", async () => {
    await cp(golden, join(folder, "checkpoints/step-00000002"), { recursive: true });
    await expect(locateModel(folder)).rejects.toThrow(/is a run without a complete checkpoint/);
    await symlink("checkpoints/step-00000002", join(folder, "latest"));
    expect(await locateModel(folder)).toBe(join(folder, "latest"));
    expect(await locateModel(golden)).toBe(golden);
  });

  test("or it is said why not", async () => {
    await expect(locateModel(join(folder, "absent"))).rejects.toThrow(/does not exist/);
    await expect(locateModel(folder)).rejects.toThrow(/neither a run directory/);
    await mkdir(join(folder, "step"));
    await writeFile(join(folder, "step/config.json"), "{}");
    await writeFile(join(folder, "step/state.json"), "{");
    await expect(locateModel(join(folder, "step"))).rejects.toThrow(/state.json is 1 bytes that are not JSON/);
  });
});
