// `make bench-checkpoint`: what a checkpoint costs: seconds that training is blocked, seconds until it is on stable storage, bytes
// and memory of each worker, for 1, 2 and 4 writers, beside the plain way in the same run: one worker writes everything while
// training waits. And beside the disk itself: as many bytes in one file, written and synced without a hash or a copy.
//
//   node dist/test/bench/checkpoint.js [FOLDER] [LAYERS HIDDEN]       12 layers of 768: GPT-2's 124 M parameters
//
// Writers are processes of their own that all have the same weights; what is written is thrown away. Nothing here passes or fails.

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "../../common/median.ts";
import { createModel } from "../../worker/model/architectures.ts";
import { createSaver } from "../../worker/train/checkpoint-saver.ts";
import { createPartWriter, type PartWriter } from "../../worker/train/checkpoint-writer.ts";
import { createOptimizer } from "../../worker/train/optimizer.ts";
import { createTrainedWeights } from "../../worker/train/trained-weights.ts";
import { directWriter } from "../support/write-checkpoint.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 3);
const program = fileURLToPath(import.meta.url);
const adamw = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 } as const;

/** How a writer writes: beside training, or while it waits. */
type Way = "beside" | "blocking";

interface Order {
  readonly path: string;
  readonly part: number;
  readonly parts: number;
}

/** Of one writer. */
interface Cost {
  readonly blockedSeconds: number;
  readonly writtenSeconds: number;
  readonly bytes: number;
  /** Resident size with everything there, and how much more at most while it was saved. */
  readonly restingBytes: number;
  readonly extraBytes: number;
}

async function serve(way: Way, layers: number, hidden: number): Promise<void> {
  const config = { model_type: "gpt2", vocab_size: 50257, n_positions: 1024, n_embd: hidden, n_layer: layers };
  const weights = createTrainedWeights(
    createModel({ ...config, n_head: Math.max(1, hidden / 64) }, "the benchmark"),
    {},
  );
  const optimizer = createOptimizer(adamw, weights.trainable);
  const { buffers } = optimizer.state();
  // Pages that were never written are no memory.
  for (const buffer of [weights.parameters, ...Object.values(buffers)]) buffer.fill(0.5);
  let saved: (bytes: number) => void = () => undefined;
  const writer: PartWriter = way === "beside" ? createPartWriter() : directWriter();
  const saver = createSaver(
    weights,
    { basePath: "", tokenizerJson: "{}", tokenizerConfigJson: "" },
    {
      writer,
      report: {
        doing: () => undefined,
        fail: (error) => {
          throw error;
        },
        send(message) {
          if (message.kind === "notSaved") throw new Error(message.value.reason);
          if (message.kind === "saved") saved(message.value.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
        },
      },
    },
  );
  process.on("message", (order: Order) => {
    void (async () => {
      const restingBytes = process.memoryUsage().rss;
      let most = restingBytes;
      const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 5);
      const start = performance.now();
      const writing = new Promise<number>((resolve) => (saved = resolve));
      const task = { generation: 1, step: 1, position: 1, attempt: 1, ...order };
      const contents = { optimizer: optimizer.state(), facts: { seed: 1, worldSize: order.parts } };
      await saver.save(task, contents, new AbortController().signal);
      const copied = performance.now();
      const bytes = await writing;
      const end = performance.now();
      clearInterval(watch);
      most = Math.max(most, process.memoryUsage().rss);
      const blockedSeconds = ((way === "beside" ? copied : end) - start) / 1000;
      const writtenSeconds = (end - start) / 1000;
      process.send?.({
        blockedSeconds,
        writtenSeconds,
        bytes,
        restingBytes,
        extraBytes: most - restingBytes,
      } satisfies Cost);
    })();
  });
  process.send?.("ready");
}

async function ask<T>(child: ChildProcess, order?: Order): Promise<T> {
  const answer = once(child, "message") as Promise<[T]>;
  if (order !== undefined) child.send(order);
  return (await answer)[0];
}

/** The costs of each round, by writer. */
async function measure(way: Way, writers: number, folder: string, size: readonly string[]): Promise<Cost[][]> {
  const children: ChildProcess[] = [];
  for (let i = 0; i < writers; i++) {
    children.push(fork(program, ["--serve", way, ...size], { execArgv: [] }));
    await ask(children[i]!);
  }
  try {
    const all: Cost[][] = [];
    // The first makes the memory that is kept for those after it.
    for (let round = 0; round <= rounds; round++) {
      const path = join(folder, `${way}-${writers}-${round}`);
      const orders = children.map((child, part) => ask<Cost>(child, { path, part, parts: writers }));
      all.push(await Promise.all(orders));
      await rm(path, { recursive: true });
    }
    return all;
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

/** Bytes a second of one file that is written in blocks of 1 MiB and synced. */
async function diskSpeed(folder: string, bytes: number): Promise<number> {
  const block = Buffer.alloc(1 << 20, 0x5a);
  const path = join(folder, "disk");
  const start = performance.now();
  const file = await open(path, "w");
  for (let left = bytes; left > 0; left -= block.length)
    await file.writeFile(left < block.length ? block.subarray(0, left) : block);
  await file.sync();
  await file.close();
  const seconds = (performance.now() - start) / 1000;
  await rm(path);
  return bytes / seconds;
}

async function bench([parent = tmpdir(), ...size]: readonly string[]): Promise<void> {
  const shape = size.length === 2 ? size : ["12", "768"];
  const folder = await mkdtemp(join(parent, "ringtune-checkpoint-"));
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  try {
    const disk: number[] = [];
    for (const [way, writers] of [
      ["blocking", 1],
      ["beside", 1],
      ["beside", 2],
      ["beside", 4],
    ] as const) {
      const [first, ...costs] = await measure(way, writers, folder, shape);
      const total = costs[0]!.reduce((sum, { bytes }) => sum + bytes, 0);
      disk.push(await diskSpeed(folder, total));
      const slowest = (of: (cost: Cost) => number): number => median(costs.map((all) => Math.max(...all.map(of))));
      const written = slowest(({ writtenSeconds }) => writtenSeconds);
      const rate = total / written / median(disk);
      const name = way === "blocking" ? "one worker, training waits" : `${writers} beside training`;
      console.log(
        [
          name.padEnd(28),
          `blocked ${slowest(({ blockedSeconds }) => blockedSeconds).toFixed(3)} s`,
          `(first ${Math.max(...first!.map(({ blockedSeconds }) => blockedSeconds)).toFixed(3)} s)`,
          `  written ${written.toFixed(2)} s, ${(rate * 100).toFixed(0)}% of the disk's rate`,
          `  ${megabytes(total / writers)} and ${megabytes(Math.max(...first!.map(({ extraBytes }) => extraBytes)))} more memory each`,
        ].join(" "),
      );
    }
    console.log(`the disk by itself: ${megabytes(median(disk))}/s, written and synced (median of ${disk.length})`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === program) {
  const [stage, ...rest] = process.argv.slice(2);
  if (stage === "--serve") await serve(rest[0] as Way, Number(rest[1]), Number(rest[2]));
  else await bench(process.argv.slice(2));
}
