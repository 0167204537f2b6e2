// Training speed of whole runs (coordinator, gRPC, ring, optimizer and all) with one and two workers of one thread,
// beside PyTorch DDP over gloo with the same model, batch and sequence, in the same run. Prints tokens/s, ratios and
// where a step's time goes. Ours and theirs take turns, so that whatever else the machine does meets both; a ratio is the
// median of the rounds' ratios. PEERS names the folder with ddp_gpt.py; without it, or without PyTorch, ours alone.

import { execFile, type ChildProcess } from "node:child_process";
import { access, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord, StepRecord } from "../../common/records.ts";
import { median } from "../../common/median.ts";

const execute = promisify(execFile);

const ROUNDS = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 3);
const STEPS = 24;
const WARMUP = 4;
/** Per worker, as in ddp_gpt.py's defaults. */
const SHAPE = { layers: 4, hidden: 256, heads: 8, positions: 128, batch: 8, vocab: 4096 };

export const cli = join(packageRoot, "dist/coordinator/cli/main.js");

const MODEL = {
  "model.layers": SHAPE.layers,
  "model.hidden": SHAPE.hidden,
  "model.heads": SHAPE.heads,
  "model.positions": SHAPE.positions,
  "tokenizer.vocab_size": SHAPE.vocab,
};

/** Tokens per second in each round. */
interface Row {
  readonly name: string;
  readonly rounds: number[];
}

/** Called with the process as soon as there is one. */
export type Started = (child: ChildProcess) => void;

type Settings = Readonly<Record<string, string | number | boolean>>;

/** What `train` and `coordinator` are told for a run of this benchmark's model, or of `model.from`. */
export function ourArguments(workers: number, folder: string, name: string, more: Settings = {}): string[] {
  const settings: Settings = {
    ...("model.from" in more ? {} : MODEL),
    "train.steps": STEPS,
    "train.global_batch": SHAPE.batch * workers,
    "train.microbatch": SHAPE.batch,
    "train.sequence_length": SHAPE.positions,
    "train.eval_every": 0,
    "train.eval_sequences": 1,
    "cluster.workers": workers,
    "cluster.threads": 1,
    "checkpoint.dir": folder,
    "checkpoint.name": name,
    "metrics.enabled": false,
    ...more,
  };
  const sets = Object.entries(settings).flatMap(([path, value]) => ["--set", `${path}=${value}`]);
  return [join(packageRoot, "examples/bench.yaml"), ...sets];
}

/** The steps of a run, without the first few. */
export async function stepsOf(folder: string, name: string): Promise<StepRecord[]> {
  const lines = (await readFile(join(folder, name, "metrics.jsonl"), "utf8")).trim().split("\n");
  const records = lines.map((line) => JSON.parse(line) as RunRecord);
  return records.filter((record) => record.kind === "step").slice(WARMUP);
}

/** Trains such a run; its steps. */
export async function trainOurs(
  workers: number,
  folder: string,
  name: string,
  more: Settings = {},
  started: Started = () => undefined,
): Promise<StepRecord[]> {
  const running = execute(process.execPath, [cli, "train", ...ourArguments(workers, folder, name, more)], {
    cwd: packageRoot,
  });
  started(running.child);
  await running;
  return stepsOf(folder, name);
}

export function tokensPerSecond(workers: number, steps: readonly StepRecord[]): number {
  return (SHAPE.batch * workers * SHAPE.positions) / median(steps.map((step) => step.seconds.total));
}

/** Tokens per second of PyTorch, or undefined with the reason printed. */
export async function trainPeer(
  peers: string,
  workers: number,
  tuned: boolean,
  started: Started = () => undefined,
): Promise<number | undefined> {
  const script = join(peers, "ddp_gpt.py");
  const env = tuned ? { ...process.env, OPENBLAS_CORETYPE: "SKYLAKEX" } : process.env;
  try {
    await access(script);
    const running = execute("/usr/bin/python3", [script, "--world", String(workers), "--steps", String(STEPS)], {
      env,
    });
    started(running.child);
    const { stdout } = await running;
    return (JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { tokens_s: number }).tokens_s;
  } catch (error) {
    console.log(`PyTorch is left out: ${(error as Error).message.trim().split("\n").at(-1)}`);
    return undefined;
  }
}

function printBreakdown(workers: number, steps: readonly StepRecord[]): void {
  const part = (pick: (step: StepRecord) => number): number => median(steps.map(pick)) * 1000;
  const total = part((step) => step.seconds.total);
  // The wait for the slower worker is not the collective's: its own time follows from the bus bandwidth.
  const ring = part(({ allReduceBytes, busBandwidth }) =>
    busBandwidth > 0 ? allReduceBytes / workers / busBandwidth : 0,
  );
  const parts: [string, number][] = [
    ["data", part((step) => step.seconds.data)],
    ["forward and backward", part((step) => step.seconds.compute)],
    ["all-reduce", ring],
    ["wait for the slower", part((step) => step.seconds.allReduce) - ring],
    ["commit and optimizer", part((step) => step.seconds.commit)],
  ];
  const known = parts.reduce((sum, [, ms]) => sum + ms, 0);
  console.log("  where a step's time goes (medians; of the slowest worker):");
  for (const [name, ms] of [...parts, ["norm, digest, messages", total - known], ["step", total]] as const) {
    const share = `${((100 * ms) / total).toFixed(1)} %`;
    console.log(`    ${name.padEnd(22)} ${ms.toFixed(1).padStart(7)} ms  ${share.padStart(8)}`);
  }
  console.log();
}

export async function benchTrainStep(peers: string | undefined): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-bench-"));
  try {
    const shape = JSON.stringify(SHAPE);
    console.log(`GPT ${shape} per worker, one thread each; ${ROUNDS} rounds of ${STEPS - WARMUP} steps, medians\n`);
    for (const workers of [1, 2]) {
      const ours: Row = { name: "ringtune", rounds: [] };
      const theirs: Row[] = [
        { name: "PyTorch DDP, tuned", rounds: [] },
        { name: "PyTorch DDP, stock", rounds: [] },
      ];
      const allSteps: StepRecord[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const steps = await trainOurs(workers, folder, `w${workers}-${round}`);
        allSteps.push(...steps);
        ours.rounds.push(tokensPerSecond(workers, steps));
        if (peers === undefined) continue;
        for (const row of theirs) {
          const speed = await trainPeer(peers, workers, row.name.endsWith("tuned"));
          if (speed !== undefined) row.rounds.push(speed);
        }
      }
      console.log(`${workers} worker${workers === 1 ? "" : "s"}`);
      for (const row of [ours, ...theirs.filter(({ rounds }) => rounds.length === ROUNDS)]) printRow(row, ours);
      printBreakdown(workers, allSteps);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function printRow(row: Row, ours: Row): void {
  const speed = `${Math.round(median(row.rounds))} tokens/s`.padStart(16);
  const best = `best ${Math.round(Math.max(...row.rounds))}`.padStart(10);
  const ratio = median(row.rounds.map((theirs, round) => ours.rounds[round]! / theirs));
  const ratioOfBests = Math.max(...ours.rounds) / Math.max(...row.rounds);
  const compared = `   ringtune / peer = ${ratio.toFixed(2)}, of the bests ${ratioOfBests.toFixed(2)}`;
  console.log(`  ${row.name.padEnd(20)} ${speed}, ${best}${row === ours ? "" : compared}`);
}
