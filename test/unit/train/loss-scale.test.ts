// The loss scale of float16: its rules by themselves, and the trainer that lives by them, on real ranks of this process.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { FromCoordinator, FromWorker } from "../../../proto/messages.ts";
import { readCheckpointState } from "../../../worker/train/checkpoint-state.ts";
import { initialLossScale, nextLossScale, type LossScale } from "../../../worker/train/loss-scale.ts";
import { joinParts } from "../../../coordinator/store/checkpoint-parts.ts";
import { directWriter } from "../../support/write-checkpoint.ts";
import { createTrainer, type Trainer } from "../../../worker/train/trainer.ts";
import { formWorld } from "../../support/collective-world.ts";

type Message<K extends FromCoordinator["kind"]> = Extract<FromCoordinator, { kind: K }>["value"];
type Said<K extends FromWorker["kind"]> = Extract<FromWorker, { kind: K }>["value"];

describe("the scale", () => {
  test("halves at an overflow and doubles after 2000 steps without one", () => {
    let scale = nextLossScale(initialLossScale, true);
    expect(scale).toEqual({ scale: 2 ** 15, goodSteps: 0 });
    for (let i = 0; i < 1999; i++) scale = nextLossScale(scale, false);
    expect(scale).toEqual({ scale: 2 ** 15, goodSteps: 1999 });
    expect(nextLossScale(scale, true)).toEqual({ scale: 2 ** 14, goodSteps: 0 });
    expect(nextLossScale(scale, false)).toEqual({ scale: 2 ** 16, goodSteps: 0 });
  });

  test("stays between 1 and 2^24", () => {
    expect(nextLossScale({ scale: 1, goodSteps: 5 }, true)).toEqual({ scale: 1, goodSteps: 0 });
    expect(nextLossScale({ scale: 2 ** 24, goodSteps: 1999 }, false).scale).toBe(2 ** 24);
  });
});

const rows = 4;
const length = 8;
const sizes = { model_type: "gpt2", vocab_size: 16, n_positions: 8, n_embd: 8, n_layer: 1, n_head: 2 };
const tokenizer = {
  added_tokens: [],
  model: { type: "BPE", vocab: Object.fromEntries([..."abcdefghijklmnop"].map((c, i) => [c, i])), merges: [] },
};
const welcome: Message<"welcome"> = {
  ...{ jobId: "job", heartbeatSeconds: 1, engine: "onnx", device: "cpu", threads: 1, seed: 7 },
  ...{ workerId: "w0", recoverSeconds: 0, arrivedMs: 0, sentMs: 0 },
  modelConfigJson: JSON.stringify(sizes),
  tokenizerJson: JSON.stringify(tokenizer),
  tokenizerConfigJson: "",
  optimizerJson: JSON.stringify({ name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }),
  trainingJson: JSON.stringify({ precision: "fp16" }),
  baseModelPath: "",
  taskJson: "",
};

interface Ranks {
  /** Forms the next generation of the first `size` ranks. */
  form(
    source: Omit<Partial<Message<"form">>, "measureLinks"> & { step: number },
    size?: number,
  ): Promise<Said<"formed">[]>;
  /** One step of the ranks of the last generation; nothing is committed when `commits` is false. */
  step(step: number, options?: { commits?: boolean; globalTokens?: number }): Promise<Said<"reduced">[]>;
  /** What was said of the last committed step. */
  applied(): Said<"applied">[];
  save(step: number): Promise<string>;
}

function fail(error: Error): never {
  throw error;
}

async function createRanks(count: number, scale: LossScale): Promise<Ranks> {
  const trainers: Trainer[] = [];
  const said: FromWorker[][] = [];
  const world = await formWorld(count, {
    seed: 1,
    prepare: (endpoints) =>
      endpoints.forEach((endpoint, rank) => {
        const heard: FromWorker[] = (said[rank] = []);
        const report = { send: (message: FromWorker) => void heard.push(message), doing: () => undefined, fail };
        trainers.push(createTrainer(welcome, endpoint, report, { firstScale: scale, writer: directWriter() }));
      }),
  });
  onTestFinished(async () => {
    await Promise.all(trainers.map((trainer) => trainer.close()));
    await world.close();
  });
  let generation = 1;
  let members = count;
  const { signal } = new AbortController();
  const all = <T>(work: (trainer: Trainer, rank: number) => Promise<T>): Promise<T[]> =>
    Promise.all(trainers.slice(0, members).map(work));
  const last = <K extends FromWorker["kind"]>(kind: K): Said<K>[] =>
    said.slice(0, members).map((heard) => heard.findLast((message) => message.kind === kind)!.value as Said<K>);
  return {
    async form(source, size = count) {
      members = size;
      generation += 1;
      const ring = world.endpoints
        .slice(0, size)
        .map(({ address }, rank) => ({ workerId: `w${rank}`, ringEndpoint: address }));
      const message = { generation, members: ring, localWorldSize: size, measureLinks: false, ...source };
      await all((trainer, rank) => trainer.form({ ...message, rank }, signal));
      return last("formed");
    },
    async step(step, { commits = true, globalTokens = rows * length } = {}) {
      const share = rows / members;
      const isCommitted = (): Promise<void> =>
        commits ? Promise.resolve() : Promise.reject(new Error("not committed"));
      const plan = (rank: number): Message<"plan"> => {
        const firstRow = rank * share;
        const ids = Int32Array.from({ length: share * length }, (_, i) => ((firstRow * length + i) * 7 + step) % 16);
        const bytes = Buffer.from(ids.buffer);
        const shard = { ...{ rows: share, length, inputIds: bytes, targets: bytes }, ...empty };
        const rates = { learningRates: [0.01], clip: 0.5, verify: true };
        return { ...{ generation, step, shard, microbatch: 2, globalTokens, firstRow, batchRows: rows }, ...rates };
      };
      await all(async (trainer, rank) => {
        const run = trainer.runPlan(plan(rank), { waitedSeconds: 0, signal, committed: isCommitted });
        if (commits) await run;
        else await expect(run).rejects.toThrow("not committed");
      });
      return last("reduced");
    },
    applied: () => last("applied"),
    async save(step) {
      const folder = await mkdtemp(join(tmpdir(), "ringtune-loss-scale-"));
      onTestFinished(() => rm(folder, { recursive: true }));
      const path = join(folder, "checkpoint");
      const task = { generation, step, path, position: step * rows, part: 0, parts: 1, attempt: 1 };
      await trainers[0]!.save(task, signal);
      await trainers[0]!.written();
      const { files, factsJson } = said[0]!.findLast(({ kind }) => kind === "saved")!.value as Said<"saved">;
      await joinParts(join(folder, "joined"), path, { files, facts: factsJson });
      return join(folder, "joined");
    },
  };
}

const empty = { attentionMask: Buffer.alloc(0), tokenTypeIds: Buffer.alloc(0) };

/** Weights and optimizer state as they are on the disk. */
async function filesOf(path: string): Promise<Buffer[]> {
  return Promise.all(["model.safetensors", "optimizer.safetensors"].map((file) => readFile(join(path, file))));
}

/** 2 to this is too large a scale for the first steps of the model. */
const first = 32;

describe("a trainer with float16", () => {
  test("skips steps that overflow, alike on all ranks, as if they had not been, and halves the scale", async () => {
    const ranks = await createRanks(2, { scale: 2 ** first, goodSteps: 0 });
    await ranks.form({ step: 0, seed: {} });
    let step = 0;
    const norms: number[] = [];
    do {
      const reduced = await ranks.step(++step);
      expect(reduced[0]!.digest).toBe(reduced[1]!.digest);
      expect(
        reduced.every(({ lossSum, notFiniteRows }) => Number.isFinite(lossSum) && notFiniteRows.length === 0),
      ).toBe(true);
      const [one, other] = ranks.applied();
      expect(one!.digest).toBe(other!.digest);
      norms.push(reduced[0]!.gradientNorm);
    } while (!Number.isFinite(norms.at(-1)) && step < first);
    expect(step).toBeGreaterThan(2);
    expect(norms.at(-1)).toBeLessThan(10); // as without a scale
    const path = await ranks.save(step);
    const scale = 2 ** (first - (step - 1));
    expect(await readCheckpointState(path)).toMatchObject({
      ...{ step, optimizer: { step: 1 } },
      lossScale: { scale, goodSteps: 1 },
    });

    // The same update as the first one of a run that began with the scale that was found.
    const fresh = await createRanks(2, { scale, goodSteps: 0 });
    await fresh.form({ step: 0, seed: {} });
    await fresh.step(step);
    expect(await filesOf(await fresh.save(step))).toEqual(await filesOf(path));
  });

  test("goes on from a checkpoint with the same scale and count of updates, and gives both to who joins", async () => {
    const ranks = await createRanks(2, { scale: 2 ** first, goodSteps: 0 });
    await ranks.form({ step: 0, seed: {} });
    for (let step = 1; step <= 20; step++) await ranks.step(step);
    const path = await ranks.save(20);
    const { optimizer, lossScale } = await readCheckpointState(path);
    expect(optimizer.step).toBeLessThan(20);
    expect(optimizer.step).toBeGreaterThan(1);
    await ranks.step(21);
    const expected = ranks.applied()[0]!.digest;

    const resumed = await createRanks(2, initialLossScale);
    await resumed.form({ step: 20, folder: { path, checkpoint: true } });
    await resumed.step(21);
    expect(resumed.applied().map(({ digest }) => digest)).toEqual([expected, expected]);

    const grown = await createRanks(2, initialLossScale);
    await grown.form({ step: 20, folder: { path, checkpoint: true } }, 1);
    const digests = (await grown.form({ step: 20, peer: { root: 0, receivers: [1] } })).map(({ digest }) => digest);
    expect(digests[1]).toBe(digests[0]);
    await grown.step(21);
    expect(grown.applied().map(({ digest }) => digest)).toEqual([expected, expected]);
    expect(await readCheckpointState(await grown.save(21))).toMatchObject({
      ...{ optimizer: { step: optimizer.step + 1 } },
      lossScale: { scale: lossScale!.scale, goodSteps: lossScale!.goodSteps + 1 },
    });
  });

  test("names the rows that overflow when the scale can't fall any more", async () => {
    for (const [scale, notFiniteRows] of [
      [2, []],
      [1, [0, 1]],
    ] as const) {
      const ranks = await createRanks(2, { scale, goodSteps: 0 });
      await ranks.form({ step: 0, seed: {} });
      const reduced = await ranks.step(1, { commits: false, globalTokens: 1e-9 });
      expect(reduced[0]!.notFiniteRows).toEqual(notFiniteRows);
      // Named when rows are, each with how much of it: not more than there is.
      const tensors = reduced[0]!.notFiniteTensors;
      expect(tensors.length > 0).toBe(notFiniteRows.length > 0);
      for (const { name, elements, size } of tensors) {
        expect(name).toMatch(/^transformer\./);
        expect(elements).toBeGreaterThan(0);
        expect(elements).toBeLessThanOrEqual(size);
      }
      expect(Number.isFinite(reduced[0]!.lossSum)).toBe(true);
      expect(Number.isFinite(reduced[0]!.gradientNorm)).toBe(false);
    }
  });
});
