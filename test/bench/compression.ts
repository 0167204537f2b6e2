// `make bench-compression`: what every way to exchange less costs in loss. For each method two real workers train the same
// small model on real text for the same steps with the same seed; the table has the bytes that a worker sent and the loss of
// the last validation, beside those of uncompressed gradients. Nothing here passes or fails.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markdownTable } from "../../common/markdown-table.ts";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord } from "../../common/records.ts";

const steps = Number(process.env["RINGTUNE_BENCH_STEPS"] ?? 480);
const workers = 2;

const settings = {
  model: { layers: 2, hidden: 96, heads: 4, positions: 64 },
  tokenizer: { vocab_size: 512 },
  train: {
    ...{ steps, global_batch: 16, microbatch: 8, sequence_length: 64, learning_rate: 0.004, warmup_steps: 32 },
    ...{ eval_every: 0, eval_sequences: 200 },
  },
  cluster: { workers, device: "cpu", threads: 1 },
  metrics: { enabled: false },
};

const outer = { learning_rate: 0.8, momentum: 0.2 };

const methods: readonly { readonly name: string; readonly train: Record<string, unknown> }[] = [
  { name: "uncompressed", train: {} },
  { name: "bf16", train: { compression: { method: "bf16" } } },
  { name: "fp16", train: { compression: { method: "fp16" } } },
  { name: "int8", train: { compression: { method: "int8" } } },
  { name: "topk, share 0.01", train: { compression: { method: "topk" } } },
  { name: "powersgd, rank 4", train: { compression: { method: "powersgd" } } },
  { name: "powersgd, rank 32", train: { compression: { method: "powersgd", rank: 32 } } },
  { name: "27 local steps", train: { local_steps: 27, outer } },
  { name: "27 local steps, int8", train: { local_steps: 27, outer, compression: { method: "int8" } } },
];

interface Measured {
  readonly name: string;
  /** That one worker sent at every optimizer step, on average. */
  readonly bytes: number;
  readonly loss: number;
}

const folder = await mkdtemp(join(tmpdir(), "ringtune-compression-"));
try {
  const measured: Measured[] = [];
  for (const { name, train } of methods) {
    measured.push(await measure(name, train));
    process.stderr.write(`${name}: loss ${measured.at(-1)!.loss.toFixed(4)}\n`);
  }
  process.stdout.write(`${describe(measured)}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function measure(name: string, train: Record<string, unknown>): Promise<Measured> {
  const run = name.replace(/\W+/g, "-");
  const config = join(folder, `${run}.yaml`);
  const whole = {
    ...settings,
    data: { source: "sotu", years: [1950, 2021], cache: join(folder, "cache") },
    train: { ...settings.train, ...train },
    checkpoint: { dir: folder, name: run, every: 0 },
  };
  await writeFile(config, JSON.stringify(whole));
  await ringtune(["train", config]);
  const lines = (await readFile(join(folder, run, "metrics.jsonl"), "utf8")).trim().split("\n");
  const records = lines.map((line) => JSON.parse(line) as RunRecord);
  const sent = records.reduce((sum, record) => sum + (record.kind === "step" ? record.allReduceBytes : 0), 0);
  const loss = records.findLast((record) => record.kind === "validation")?.loss ?? Number.NaN;
  return { name, bytes: sent / workers / steps, loss };
}

function ringtune(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [join(packageRoot, "dist/coordinator/cli/main.js"), ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  return new Promise((resolve, reject) => {
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`ringtune ended with ${code}: ${complaint}`)),
    );
  });
}

function describe(measured: readonly Measured[]): string {
  const [plain] = measured;
  const rows = measured.map(({ name, bytes, loss }) => [
    name,
    Math.round(bytes).toLocaleString("en-US"),
    `${(plain!.bytes / bytes).toFixed(1)}`,
    loss.toFixed(4),
    `${(100 * (loss / plain!.loss - 1)).toFixed(2)}%`,
  ]);
  const title = `${workers} workers, ${steps} steps, seed 0`;
  const head = ["method", "bytes per step and worker", "times fewer", "validation loss", "against uncompressed"];
  return [title, "", markdownTable([head, ...rows])].join("\n");
}
