// Trainers of train.zero on real ranks of this process, on one host and on several: the same losses, gradients, weights and
// optimizer state as trainers without it that live the same story, whoever dies at whatever word of an update.

import { setImmediate as newsArrives } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { createRandom } from "../../../common/random.ts";
import type { FromCoordinator, FromWorker } from "../../../proto/messages.ts";
import { createTrainer, type Trainer } from "../../../worker/train/trainer.ts";
import { formWorld, type TransportKind } from "../../support/collective-world.ts";

type Message<K extends FromCoordinator["kind"]> = Extract<FromCoordinator, { kind: K }>["value"];
type Said<K extends FromWorker["kind"]> = Extract<FromWorker, { kind: K }>["value"];

const length = 8;
const rowsPerStep = 12;
const model = { model_type: "gpt2", vocab_size: 40, n_positions: length, n_embd: 64, n_layer: 2, n_head: 2 };

const optimizers = {
  adamw: { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 },
  rmsprop: { name: "rmsprop", alpha: 0.99, epsilon: 1e-8, momentum: 0.9, weight_decay: 0 },
};

/** What happens at one step. */
interface Chapter {
  /** Which workers train; those that are new get the weights of another. */
  readonly members: readonly number[];
  /** They are killed while they update their share, at this word of their progress; 0: when they were to begin. */
  readonly dies?: Readonly<Record<number, number>>;
  /** They were stopped before they heard of the commit, are given up, and wake up after the next generation is formed. */
  readonly sleeps?: readonly number[];
  /** The generation after it is first tried with those that are dead, and given up. */
  readonly triesInVain?: boolean;
}

interface World {
  readonly kind: TransportKind;
  readonly hosts?: readonly number[];
  readonly optimizer?: keyof typeof optimizers;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly firstScale?: number;
}

interface Heard {
  readonly message: FromWorker;
}

async function live(zero: 0 | 1, chapters: readonly Chapter[], world: World) {
  const { kind, hosts = [], optimizer = "adamw", settings = {}, firstScale = 1024 } = world;
  const size = 1 + Math.max(...chapters.flatMap(({ members }) => members));
  const welcome: Message<"welcome"> = {
    ...{ jobId: "job", heartbeatSeconds: 1, engine: "onnx", device: "cpu", threads: 1, seed: 7 },
    ...{ workerId: "w0", recoverSeconds: 0, arrivedMs: 0, sentMs: 0 },
    modelConfigJson: JSON.stringify(model),
    ...{ tokenizerJson: "", tokenizerConfigJson: "", baseModelPath: "", taskJson: "" },
    optimizerJson: JSON.stringify(optimizers[optimizer]),
    trainingJson: JSON.stringify({ ...settings, zero }),
  };
  const said: Heard[][] = [];
  const trainers: Trainer[] = [];
  const ranks = await formWorld(size, {
    ...{ seed: 1, kind, hosts },
    prepare: (endpoints) =>
      endpoints.forEach((endpoint, id) => {
        const heard: Heard[] = (said[id] = []);
        const report = { send: (message: FromWorker) => void heard.push({ message }), doing: () => undefined, fail };
        const scale = { scale: firstScale, goodSteps: 0 };
        trainers.push(createTrainer(welcome, endpoint, report, { firstScale: scale }));
      }),
  });
  onTestFinished(async () => {
    await Promise.all(trainers.map((trainer) => trainer.close()));
    await ranks.close();
  });
  const last = <K extends FromWorker["kind"]>(id: number, of: K): Said<K> =>
    said[id]!.findLast(({ message }) => message.kind === of)!.message.value as Said<K>;
  let generation = 1;
  let abort = new AbortController();

  const form = (members: readonly number[], holders: readonly number[], step: number): Promise<void>[] => {
    abort.abort(new Error(`generation ${generation + 1} takes over`));
    abort = new AbortController();
    const { signal } = abort;
    generation += 1;
    const ring = members.map((id) => ({ workerId: `w${id}`, ringEndpoint: ranks.endpoints[id]!.address }));
    const receivers = [...members.keys()].filter((rank) => !holders.includes(members[rank]!));
    const root = members.findIndex((id) => holders.includes(id));
    const source =
      holders.length === 0 ? { seed: {} } : receivers.length === 0 ? { held: {} } : { peer: { root, receivers } };
    const place = { generation, step, localWorldSize: members.length, members: ring, measureLinks: false };
    return members.map((id, rank) => trainers[id]!.form({ peer: null, ...place, rank, ...source }, signal));
  };

  const rowsOf = (step: number, start: number, count: number): Message<"plan">["shard"] => {
    const random = createRandom(step, "tokens");
    const ids = Int32Array.from({ length: rowsPerStep * length }, () => random.integer(40));
    const part = Buffer.from(ids.slice(start * length, (start + count) * length).buffer);
    const absent = Buffer.alloc(0);
    return { rows: count, length, inputIds: part, targets: part, attentionMask: absent, tokenTypeIds: absent };
  };

  const story: unknown[] = [];
  let holders: readonly number[] = [];
  let dead: readonly number[] = [];
  for (const [index, { members, dies = {}, sleeps = [], triesInVain = false }] of chapters.entries()) {
    const step = index + 1;
    const holding = holders.filter((id) => members.includes(id));
    if (triesInVain) {
      const vain = form([...members, ...dead].toSorted(), holding, index);
      vain.forEach((each) => void each.catch(() => undefined));
      // The dead are not there to answer: nobody can have formed it.
      await Promise.race([Promise.allSettled(vain), new Promise((resolve) => setTimeout(resolve, 20))]);
    }
    const sleeping = wake;
    await Promise.all(form(members, holding, index));
    sleeping.splice(0).forEach((each) => each());
    const { signal } = abort;
    const votes = new Set<number>();
    const diesFirst = Object.values(dies).some((words) => words % 2 === 1);
    const dying: Promise<unknown>[] = [];
    let died = (): void => undefined;
    const deaths = new Promise<void>((resolve) => (died = resolve));
    let commit = (): void => undefined;
    const committed = new Promise<void>((resolve) => (commit = resolve));
    const share = rowsPerStep / members.length;
    const ended: Promise<unknown>[] = [];
    const running = members.map((id, rank) => {
      const from = Math.floor(rank * share);
      const rows = Math.floor((rank + 1) * share) - from;
      const plan: Message<"plan"> = {
        ...{ generation, step, microbatch: 2, globalTokens: rowsPerStep * length, learningRates: [0.01], clip: 0.5 },
        ...{ verify: true, shard: rowsOf(step, from, rows), firstRow: from, batchRows: rowsPerStep },
      };
      return trainers[id]!.runPlan(plan, {
        ...{ waitedSeconds: 0, signal },
        async committed() {
          votes.add(id);
          if (votes.size === members.length) commit();
          if (sleeps.includes(id)) await new Promise<void>((resolve) => wake.push(resolve));
          else await committed;
          const words = dies[id];
          // Before the others have begun, or when they have done their shares.
          if (words === undefined) return diesFirst ? await deaths : undefined;
          if (!diesFirst) await newsArrives();
          const before = dying.splice(0, dying.length, ended[members.indexOf(id)]!);
          await Promise.all(before);
          if (words === 0 || zero === 0) throw new Error("killed");
          killAt(words);
        },
      });
    });
    const gone = [...Object.keys(dies).map(Number), ...sleeps];
    const staying = members.filter((id) => !gone.includes(id));
    ended.push(...running.map((each) => each.catch((error: unknown) => error)));
    if (gone.length > 0) {
      for (const id of Object.keys(dies).map(Number)) {
        expect(await ended[members.indexOf(id)]).toMatchObject({ message: "killed" });
        await trainers[id]!.close();
        await ranks.lose(id);
      }
      died();
      await committed;
      // The news comes to those that wait for their shares.
      abort.abort(new Error("generation is over"));
    }
    for (const id of staying) expect(await ended[members.indexOf(id)]).toBeUndefined();
    const { digest, gradientNorm } = last(staying[0]!, "reduced");
    if (gone.length === 0) for (const id of staying) story.push({ applied: last(id, "applied").digest });
    story.push({ digest, gradientNorm, formed: last(staying[0]!, "formed").digest });
    for (const id of members) expect(last(id, "formed").digest).toBe(last(staying[0]!, "formed").digest);
    holders = staying;
    dead = Object.keys(dies).map(Number);
  }
  await Promise.all(form(holders, holders, chapters.length));
  story.push(holders.map((id) => last(id, "formed").digest));
  const notices = said[chapters[0]!.members[0]!]!.flatMap(({ message }) =>
    message.kind === "formed" || message.kind === "applied" ? message.value.notices : [],
  );
  return { story, notices };
}

/** Those that will hear of a commit when they wake up. */
const wake: (() => void)[] = [];

/** The process that updates next is killed when it has written so many words of progress. */
function killAt(words: number): void {
  const store = Atomics.store.bind(Atomics);
  let written = 0;
  const spy = vi.spyOn(Atomics, "store").mockImplementation(((array: BigInt64Array, at: number, value: bigint) => {
    const stored = store(array, at, value);
    if (!(array instanceof BigInt64Array) || ++written < words) return stored;
    spy.mockRestore();
    throw new Error("killed");
  }) as never);
}

const everybody: Chapter = { members: [0, 1, 2] };

async function expectSame(chapters: readonly Chapter[], world: World): Promise<readonly string[]> {
  const plain = await live(0, chapters, world);
  const { story, notices } = await live(1, chapters, world);
  expect(story).toEqual(plain.story);
  return notices;
}

test.each(["adamw", "rmsprop"] as const)(
  "%s: three workers of a host, and those that come and go",
  async (optimizer) => {
    const notices = await expectSame(
      [everybody, everybody, { members: [0, 2] }, { members: [0, 1, 2, 3] }, { members: [1, 3] }],
      {
        kind: "in process, shared memory",
        optimizer,
      },
    );
    expect(notices).toContain("weights and optimizer state: once for each host, of 3 workers");
  },
);

test("two hosts, one of which nobody is left of before others come there", async () => {
  const world: World = { kind: "tcp, hosts", hosts: [0, 1, 0, 1, 1] };
  const chapters = [{ members: [0, 1, 2, 3] }, { members: [0, 2] }, { members: [0, 2, 3, 4] }, { members: [3, 4] }];
  const notices = await expectSame(chapters, world);
  expect(notices).toContain("weights and optimizer state: once for each host, of 2 + 2 workers");
});

test("workers that share no memory have it whole, and say so", async () => {
  const notices = await expectSame([everybody, { members: [0, 1] }, everybody], { kind: "in process" });
  expect(notices).toContain("weights and optimizer state: whole in each of 3 workers, which share no memory");
});

test.each([0, 1, 2, 9, 10])("a worker killed at word %i of the ten of its update", async (words) => {
  const chapters = [everybody, { ...everybody, dies: { 1: words } }, { members: [0, 2], triesInVain: words > 5 }];
  await expectSame(chapters, { kind: "in process, shared memory" });
});

test("death after death, two at once, and one on each host", async () => {
  const world: World = { kind: "in process, hosts", hosts: [0, 0, 0, 1, 1, 1, 0, 1] };
  const chapters: Chapter[] = [
    { members: [0, 1, 2, 3, 4, 5] },
    { members: [0, 1, 2, 3, 4, 5], dies: { 0: 3, 4: 2 } },
    { members: [1, 2, 3, 5, 6], dies: { 1: 1, 2: 4 }, triesInVain: true },
    { members: [3, 5, 6, 7], dies: { 3: 5 } },
    { members: [5, 6, 7] },
  ];
  await expectSame(chapters, world);
});

test("a worker that wakes up when it was given up changes nothing that others have", async () => {
  const chapters: Chapter[] = [
    everybody,
    { ...everybody, sleeps: [1] },
    { members: [0, 2] },
    { ...everybody, sleeps: [0] },
    { members: [1, 2] },
    everybody,
  ];
  await expectSame(chapters, { kind: "in process, shared memory" });
});

test("bit-identical sums, steps that overflow float16, adapters, and gradients in fewer bytes", async () => {
  const chapters = [everybody, { ...everybody, dies: { 2: 1 } }, { members: [0, 1] }];
  const lora = { rank: 2, alpha: 4, rslora: false, dropout: 0, target_modules: "all-linear" };
  for (const settings of [
    { bit_identical: true },
    { precision: "fp16" },
    { lora },
    { compression: { method: "int8" } },
  ]) {
    const isScaled = "precision" in settings;
    await expectSame(isScaled ? [everybody, ...chapters.slice(2)] : chapters, {
      kind: "in process, shared memory",
      settings,
      ...(isScaled ? { firstScale: 2 ** 40 } : {}),
    });
  }
});

function fail(error: Error): never {
  throw error;
}
