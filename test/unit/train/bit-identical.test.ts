// Trainers of train.bit_identical on real ranks of this process: the same losses, gradients, weights and optimizer state for
// every number of ranks, and when that number changes between the steps, whatever is trained and how.

import { expect, onTestFinished, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { equally, shardsOf } from "../../../coordinator/core/shards.ts";
import type { FromCoordinator, FromWorker } from "../../../proto/messages.ts";
import { createTrainer } from "../../../worker/train/trainer.ts";
import { formWorld } from "../../support/collective-world.ts";

type Message<K extends FromCoordinator["kind"]> = Extract<FromCoordinator, { kind: K }>["value"];
type Said<K extends FromWorker["kind"]> = Extract<FromWorker, { kind: K }>["value"];

const length = 8;
const microbatch = 2;
const { signal } = new AbortController();

interface Case {
  readonly model: Readonly<Record<string, unknown>>;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Targets of a row, and how many values they have. */
  readonly labels?: number;
}

const gpt2 = { model_type: "gpt2", vocab_size: 40, n_positions: length, n_embd: 16, n_layer: 2, n_head: 2 };
const bert = {
  ...{ model_type: "bert", architectures: ["BertForSequenceClassification"], vocab_size: 40, hidden_size: 16 },
  ...{ max_position_embeddings: length, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32 },
  ...{ hidden_act: "gelu", type_vocab_size: 2, layer_norm_eps: 1e-12, pad_token_id: 0 },
  ...{ id2label: { 0: "no", 1: "yes", 2: "maybe" }, label2id: { no: 0, yes: 1, maybe: 2 } },
};

const cases: readonly (readonly [string, Case])[] = [
  ["a GPT-2 with dropout", { model: { ...gpt2, embd_pdrop: 0.1, attn_pdrop: 0.1, resid_pdrop: 0.1 } }],
  ["with a loss scale", { model: gpt2, settings: { precision: "fp16" } }],
  [
    "with LoRA and its dropout",
    {
      model: gpt2,
      settings: { lora: { rank: 2, alpha: 4, rslora: false, dropout: 0.2, target_modules: "all-linear" } },
    },
  ],
  ["with labels and smoothing", { model: bert, settings: { label_smoothing: 0.1 }, labels: 3 }],
];

/** What the coordinator would hear of steps of 7, 7, 7 and 5 rows over so many ranks, and of a validation of 9. */
async function train({ model, settings = {}, labels }: Case, worlds: readonly number[], firstScale = 1024) {
  const welcome: Message<"welcome"> = {
    ...{ jobId: "job", heartbeatSeconds: 1, engine: "onnx", device: "cpu", threads: 1, seed: 7 },
    ...{ workerId: "w0", recoverSeconds: 0, arrivedMs: 0, sentMs: 0 },
    modelConfigJson: JSON.stringify(model),
    ...{ tokenizerJson: "", tokenizerConfigJson: "", baseModelPath: "", taskJson: "" },
    optimizerJson: JSON.stringify({ name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }),
    trainingJson: JSON.stringify({ ...settings, bit_identical: true }),
  };
  const said: FromWorker[][] = [];
  const trainers: ReturnType<typeof createTrainer>[] = [];
  const size = Math.max(...worlds);
  const world = await formWorld(size, {
    seed: 1,
    kind: size === 2 ? "in process, shared memory" : "in process",
    prepare: (endpoints) =>
      endpoints.forEach((endpoint, rank) => {
        const heard: FromWorker[] = (said[rank] = []);
        const report = { send: (message: FromWorker) => void heard.push(message), doing: () => undefined, fail };
        const scale = { scale: firstScale, goodSteps: 0 };
        trainers.push(createTrainer(welcome, endpoint, report, { firstScale: scale }));
      }),
  });
  onTestFinished(async () => {
    await Promise.all(trainers.map((trainer) => trainer.close()));
    await world.close();
  });
  const last = <K extends FromWorker["kind"]>(kind: K, members: number): Said<K>[] =>
    said.slice(0, members).map((heard) => heard.findLast((message) => message.kind === kind)!.value as Said<K>);
  const shardOf = (seed: number, rows: number, start: number, count: number): Message<"plan">["shard"] => {
    const random = createRandom(seed, "tokens");
    const ids = Int32Array.from({ length: rows * length }, () => random.integer(40));
    const targets = labels === undefined ? ids : Int32Array.from({ length: rows }, () => random.integer(labels));
    const bytesOf = (values: Int32Array, perRow: number): Buffer =>
      Buffer.from(values.slice(start * perRow, (start + count) * perRow).buffer);
    const absent = Buffer.alloc(0);
    const both = { inputIds: bytesOf(ids, length), targets: bytesOf(targets, labels === undefined ? length : 1) };
    return { rows: count, length, ...both, attentionMask: absent, tokenTypeIds: absent };
  };
  const story: unknown[] = [];
  const all = (members: number, work: (rank: number) => Promise<void>): Promise<void[]> =>
    Promise.all(Array.from({ length: members }, (_, rank) => work(rank)));
  for (const [index, members] of worlds.entries()) {
    const step = index + 1;
    const generation = 2 + index;
    const ring = world.endpoints
      .slice(0, members)
      .map(({ address }, rank) => ({ workerId: `w${rank}`, ringEndpoint: address }));
    await all(members, (rank) => {
      const before = worlds[index - 1] ?? 0;
      const receivers = Array.from({ length: Math.max(0, members - before) }, (_, i) => before + i);
      const source = step === 1 ? { seed: {} } : { peer: { root: 0, receivers } };
      const place = { generation, rank, step: index, localWorldSize: members, members: ring };
      const form = { ...place, measureLinks: false, ...source };
      return trainers[rank]!.form(form, signal);
    });
    const rows = step === 4 ? 5 : 7;
    const globalTokens = rows * (labels === undefined ? length : 1);
    const shards = shardsOf({ start: 0, rows }, equally(members), microbatch);
    await all(members, (rank) => {
      const { start, rows: count } = shards[rank]!;
      const plan = {
        ...{ generation, step, microbatch, globalTokens, learningRates: [0.01], clip: 0.5, verify: true },
        ...{ shard: shardOf(step, rows, start, count), firstRow: start, batchRows: rows },
      };
      return trainers[rank]!.runPlan(plan, { waitedSeconds: 0, signal, committed: () => Promise.resolve() });
    });
    const votes = last("reduced", members);
    for (const { digest } of votes) expect(digest).toBe(votes[0]!.digest);
    const { digest, gradientNorm } = votes[0]!;
    const lossSum = votes.reduce((sum, vote) => sum + vote.lossSum, 0);
    story.push({ lossSum, digest, gradientNorm, weights: last("applied", members)[0]!.digest });
  }
  const members = worlds.at(-1)!;
  const shards = shardsOf({ start: 0, rows: 9 }, equally(members), microbatch);
  await all(members, (rank) => {
    const { start, rows } = shards[rank]!;
    const shard = shardOf(99, 9, start, rows);
    return trainers[rank]!.evaluate({ generation: 9, step: worlds.length, microbatch, shard });
  });
  story.push(last("evaluated", members).reduce((sum, { lossSum }) => sum + lossSum, 0));
  return story;
}

test.each(cases)("%s: 1 and 2 ranks, and ranks that come and go, end with the same bits", async (_, given) => {
  const alone = await train(given, [1, 1, 1, 1]);
  expect(new Set(alone.map((each) => JSON.stringify(each))).size).toBe(5);
  for (const worlds of [
    [2, 2, 2, 2],
    [3, 1, 2, 5],
  ]) {
    expect(await train(given, worlds), `over ${worlds.join(", ")} ranks`).toEqual(alone);
  }
});

test("a gradient that overflows float16 skips the step alike on all ranks", async () => {
  const given: Case = { model: gpt2, settings: { precision: "fp16" } };
  const alone = await train(given, [1, 1], 2 ** 40);
  expect(alone[0]).toMatchObject({ gradientNorm: Number.NaN });
  expect(await train(given, [3, 2], 2 ** 40)).toEqual(alone);
});

function fail(error: Error): never {
  throw error;
}
