// Training speed of whole runs (coordinator, gRPC, ring, optimizer and all) with one and two workers of one thread,
// beside PyTorch DDP over gloo with the same model, batch and sequence, in the same run. Prints tokens/s, ratios and
// where a step's time goes. PEERS names the folder with ddp_gpt.py; without it, or without PyTorch, ours alone.

import { execFile } from "node:child_process";
import { access, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord, StepRecord } from "../../common/records.ts";

const execute = promisify(execFile);

const STEPS = 24;
const WARMUP = 4;
/** Per worker, as in ddp_gpt.py's defaults. */
const SHAPE = { layers: 4, hidden: 256, heads: 8, positions: 128, batch: 8, vocab: 4096 };

interface Row {
  readonly name: string;
  readonly workers: number;
  readonly tokensPerSecond: number;
}

async function trainOurs(workers: number, folder: string): Promise<{ row: Row; steps: StepRecord[] }> {
  const settings = {
    "model.layers": SHAPE.layers,
    "model.hidden": SHAPE.hidden,
    "model.heads": SHAPE.heads,
    "model.positions": SHAPE.positions,
    "tokenizer.vocab_size": SHAPE.vocab,
    "train.steps": STEPS,
    "train.global_batch": SHAPE.batch * workers,
    "train.microbatch": SHAPE.batch,
    "train.sequence_length": SHAPE.positions,
    "train.eval_every": 0,
    "train.eval_sequences": 1,
    "cluster.threads": 1,
    "checkpoint.dir": folder,
    "checkpoint.name": `w${workers}`,
    "metrics.enabled": false,
  };
  const sets = Object.entries(settings).flatMap(([path, value]) => ["--set", `${path}=${value}`]);
  const cli = join(packageRoot, "dist/coordinator/cli/main.js");
  const config = join(packageRoot, "examples/bench.yaml");
  await execute(process.execPath, [cli, "train", config, "--workers", String(workers), ...sets], { cwd: packageRoot });
  const lines = (await readFile(join(folder, `w${workers}`, "metrics.jsonl"), "utf8")).trim().split("\n");
  const records = lines.map((line) => JSON.parse(line) as RunRecord);
  const steps = records.filter((record) => record.kind === "step").slice(WARMUP);
  const seconds = median(steps.map((step) => step.seconds.total));
  const tokensPerSecond = (SHAPE.batch * workers * SHAPE.positions) / seconds;
  return { row: { name: "ringtune", workers, tokensPerSecond }, steps };
}

async function trainPeer(peers: string, workers: number, tuned: boolean): Promise<Row | undefined> {
  const script = join(peers, "ddp_gpt.py");
  const name = tuned ? "PyTorch DDP, tuned" : "PyTorch DDP, stock";
  const env = tuned ? { ...process.env, OPENBLAS_CORETYPE: "SKYLAKEX" } : process.env;
  try {
    await access(script);
    const { stdout } = await execute("/usr/bin/python3", [script, "--world", String(workers)], { env });
    const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { tokens_s: number };
    return { name, workers, tokensPerSecond: result.tokens_s };
  } catch (error) {
    const reason = (error as Error).message.trim().split("\n").at(-1);
    console.log(`${name} with ${workers} workers is left out: ${reason}`);
    return undefined;
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function printBreakdown(workers: number, steps: readonly StepRecord[]): void {
  const part = (pick: (step: StepRecord) => number): number => median(steps.map(pick)) * 1000;
  const total = part((step) => step.seconds.total);
  const parts = {
    data: part((step) => step.seconds.data),
    "forward and backward": part((step) => step.seconds.compute),
    "all-reduce": part((step) => step.seconds.allReduce),
    "commit and optimizer": part((step) => step.seconds.commit),
  };
  console.log(
    `\nWhere a step's time goes, ${workers} worker${workers === 1 ? "" : "s"} (medians, slowest worker of each):`,
  );
  for (const [name, ms] of Object.entries(parts)) {
    console.log(
      `  ${name.padEnd(22)} ${ms.toFixed(1).padStart(7)} ms  ${((100 * ms) / total).toFixed(1).padStart(5)} %`,
    );
  }
  const other = total - Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  console.log(`  ${"norm, digest, messages".padEnd(22)} ${other.toFixed(1).padStart(7)} ms`);
  console.log(`  ${"step".padEnd(22)} ${total.toFixed(1).padStart(7)} ms`);
}

export async function benchTrainStep(peers: string | undefined): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-bench-"));
  try {
    console.log(`GPT ${JSON.stringify(SHAPE)} per worker, one thread each; ${STEPS - WARMUP} steps, medians\n`);
    const breakdowns: [number, StepRecord[]][] = [];
    for (const workers of [1, 2]) {
      const { row, steps } = await trainOurs(workers, folder);
      breakdowns.push([workers, steps]);
      printRow(row, row);
      for (const tuned of [true, false]) {
        const peer = peers === undefined ? undefined : await trainPeer(peers, workers, tuned);
        if (peer !== undefined) printRow(peer, row);
      }
    }
    for (const [workers, steps] of breakdowns) printBreakdown(workers, steps);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function printRow(row: Row, ours: Row): void {
  const ratio = row === ours ? "" : `  ringtune / peer = ${(ours.tokensPerSecond / row.tokensPerSecond).toFixed(2)}`;
  const speed = `${Math.round(row.tokensPerSecond)} tokens/s`.padStart(16);
  console.log(`${row.name.padEnd(20)} ${row.workers} worker${row.workers === 1 ? " " : "s"} ${speed}${ratio}`);
}
