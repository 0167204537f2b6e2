// `make bench-start`: the time from `ringtune train` to the first committed step of the 4 M parameter GPT, as a user waits
// for it: processes, data, tracing and the first step. The first run may still tokenise the data; it is printed apart, the
// others are warm. A limit is not checked: nothing here passes or fails.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord } from "../../common/records.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 5);
/** The configuration of examples/bench.yaml with the model of train-step.ts. */
const settings = {
  "model.layers": 4,
  "model.hidden": 256,
  "model.heads": 8,
  "model.positions": 128,
  "tokenizer.vocab_size": 4096,
  "train.steps": 1,
  "train.sequence_length": 128,
  "train.microbatch": 8,
  "train.eval_every": 0,
  "train.eval_sequences": 1,
  "cluster.threads": 1,
  "metrics.enabled": false,
};

async function secondsToFirstStep(workers: number, folder: string, name: string): Promise<number> {
  const own = { ...settings, "train.global_batch": 8 * workers, "checkpoint.dir": folder, "checkpoint.name": name };
  const sets = Object.entries(own).flatMap(([path, value]) => ["--set", `${path}=${value}`]);
  const cli = join(packageRoot, "dist/coordinator/cli/main.js");
  const config = join(packageRoot, "examples/bench.yaml");
  const begun = Date.now();
  const args = [cli, "train", config, "--workers", String(workers), ...sets];
  await promisify(execFile)(process.execPath, args, { cwd: packageRoot });
  const lines = (await readFile(join(folder, name, "metrics.jsonl"), "utf8")).trim().split("\n");
  const first = lines.map((line) => JSON.parse(line) as RunRecord).find(({ kind }) => kind === "step");
  return (first!.timeMs - begun) / 1000;
}

const folder = await mkdtemp(join(tmpdir(), "ringtune-start-"));
try {
  for (const workers of [1, 2]) {
    const first = await secondsToFirstStep(workers, folder, `first-${workers}`);
    const warm: number[] = [];
    for (let i = 0; i < rounds; i++) warm.push(await secondsToFirstStep(workers, folder, `warm-${workers}-${i}`));
    const sorted = warm.toSorted((a, b) => a - b);
    const median = sorted[rounds >> 1]!.toFixed(2);
    console.log(
      `${workers} worker${workers === 1 ? " " : "s"}: warm, median ${median} s, ` +
        `least ${sorted[0]!.toFixed(2)} s; the first run ${first.toFixed(2)} s`,
    );
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
