// `make bench-step`: tokens/s of forward, backward and optimizer of one worker at three sizes, one and two threads, all
// parameters and LoRA, beside PyTorch with the same model and batch, and the peak memory of both. Ours and theirs are
// two processes that take short rounds in turns on the same cores, so that whatever else the machine does meets both.
// A ratio is the median of the rounds' ratios. RINGTUNE_PEERS names the folder with ddp_gpt.py; without it, ours alone.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { packageRoot } from "../../common/package-root.ts";
import { workerEnvironment } from "../../common/worker-environment.ts";
import { median } from "../../common/median.ts";

export interface StepSettings {
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly seq: number;
  readonly vocab: number;
  readonly batch: number;
  readonly threads: number;
  /** 0 trains everything. */
  readonly loraRank: number;
}

interface Side {
  /** Milliseconds of each of `count` steps. */
  steps(count: number): Promise<readonly number[]>;
  /** Ends the process. */
  finish(): Promise<{ readonly peakKb: number; readonly trained: number; readonly total: number }>;
}

const sizes = {
  "1M": { layers: 2, dim: 128, heads: 4, vocab: 4096 },
  "4M": { layers: 4, dim: 256, heads: 8, vocab: 4096 },
  "30M": { layers: 8, dim: 512, heads: 8, vocab: 8192 },
};
type Size = keyof typeof sizes;
const shape = { seq: 128, batch: 8 };

/** What a round of one side should take. */
const roundMs = 1500;

const { values: options } = parseArgs({
  options: {
    sizes: { type: "string", default: Object.keys(sizes).join() },
    threads: { type: "string", default: "1,2" },
    rounds: { type: "string", default: "7" },
    only: { type: "string", default: "full,lora" },
    tune: { type: "boolean", default: false },
  },
});

function start(command: string, args: readonly string[], threads: number, env: NodeJS.ProcessEnv): Side {
  // The last cores: the first ones are busy with interrupts on many machines.
  const cores = Array.from({ length: threads }, (_, i) => availableParallelism() - 1 - i);
  const pinned = process.platform === "linux" && cores.every((core) => core >= 0);
  const [program, ...rest] = pinned ? ["taskset", "-c", cores.join(), command, ...args] : [command, ...args];
  const child: ChildProcess = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"], env });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T> => {
    const { value, done } = (await lines.next()) as IteratorResult<string, undefined>;
    if (done) throw new Error(`${command} ${args[0]} ended early`);
    return JSON.parse(value) as T;
  };
  return {
    async steps(count) {
      child.stdin!.write(`${count}\n`);
      return (await answer<{ times: number[] }>()).times;
    },
    async finish() {
      const ended = once(child, "exit");
      child.stdin!.end();
      const result = await answer<Awaited<ReturnType<Side["finish"]>>>();
      await ended;
      return result;
    },
  };
}

function startOurs(settings: StepSettings): Side {
  const program = join(packageRoot, "dist/test/bench/step-ours.js");
  return start(process.execPath, [program, JSON.stringify(settings)], settings.threads, workerEnvironment());
}

function startPeer(settings: StepSettings, peers: string): Side {
  const threads = String(settings.threads);
  const env = { OPENBLAS_CORETYPE: "SKYLAKEX", OPENBLAS_NUM_THREADS: threads, OMP_NUM_THREADS: threads };
  const script = join(packageRoot, "test/bench/step_peer.py");
  const hugePages = options.tune ? workerEnvironment() : process.env;
  const args = [script, peers, JSON.stringify(settings)];
  return start("/usr/bin/python3", args, settings.threads, { ...hugePages, ...env });
}

async function compare(name: string, settings: StepSettings, rounds: number, peers: string | undefined): Promise<void> {
  const sides = [startOurs(settings), ...(peers === undefined ? [] : [startPeer(settings, peers)])];
  const all: number[][] = sides.map(() => []);
  const medians: number[][] = sides.map(() => []);
  const counts: number[] = [];
  for (const side of sides) {
    await side.steps(2); // The first compiles and allocates.
    counts.push(Math.max(2, Math.round(roundMs / median(await side.steps(2)))));
  }
  for (let round = 0; round < rounds; round++) {
    for (const [i, side] of sides.entries()) {
      const times = await side.steps(counts[i]!);
      all[i]!.push(...times);
      medians[i]!.push(median(times));
    }
  }
  const ends = [];
  for (const side of sides) ends.push(await side.finish());
  const tokens = settings.batch * settings.seq;
  const speed = (ms: number): string => Math.round((1000 * tokens) / ms).toLocaleString("en-US");
  const mb = (kb: number): string => Math.round(kb / 1024).toString();
  const columns = [name, ...all.flatMap((times) => [speed(median(times)), speed(Math.min(...times))])];
  if (sides.length === 2) {
    columns.push(median(medians[0]!.map((ours, round) => medians[1]![round]! / ours)).toFixed(2));
    columns.push((Math.min(...all[1]!) / Math.min(...all[0]!)).toFixed(2));
  }
  columns.push(...ends.map(({ peakKb }) => mb(peakKb)));
  printRow(columns);
}

function printRow([name, ...columns]: readonly string[]): void {
  console.log(`${name!.padEnd(26)}${columns.map((text) => text.padStart(11)).join("")}`);
}

const peers = process.env["RINGTUNE_PEERS"] || undefined;
console.log(`${shape.batch} sequences of ${shape.seq} tokens a step; tokens/s, median and best; peak memory in MB`);
const both = ["ours", "best", "PyTorch", "best", "ratio", "of bests", "ours MB", "PyTorch MB"];
printRow(["", ...(peers === undefined ? ["ours", "best", "ours MB"] : both)]);
for (const size of options.sizes.split(",") as Size[]) {
  for (const kind of options.only.split(",")) {
    for (const threads of options.threads.split(",").map(Number)) {
      const settings = { ...sizes[size], ...shape, threads, loraRank: kind === "lora" ? 8 : 0 };
      const name = `${size} ${kind}, ${threads} thread${threads === 1 ? "" : "s"}`;
      await compare(name, settings, Number(options.rounds), peers);
    }
  }
}
