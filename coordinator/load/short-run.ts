// A configured run cut down to a few steps, in a folder that is thrown away: for those that want to know how fast it is and what
// it takes. It trains for real, with `ringtune train`; nothing of it stays.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../../common/config/schema.ts";
import type { RunRecord, StepRecord } from "../../common/records.ts";
import { folderBytes } from "../store/disk-space.ts";
import { ringtuneProgram } from "./start-coordinator.ts";

export interface ShortRunOptions {
  readonly workers: number;
  readonly steps: number;
  readonly signal: AbortSignal;
}

export type ShortRun =
  | {
      readonly kind: "done";
      /** "onnx cpu, 1 thread" */
      readonly engine: string;
      readonly steps: readonly StepRecord[];
      /** Largest resident size of a worker; 0 where that is not known. */
      readonly workerBytes: number;
      readonly checkpointBytes: number;
    }
  /** What the run said. */
  | { readonly kind: "failed"; readonly reason: string };

const LOOK_EVERY_MS = 50;

/** Throws the signal's reason. */
export async function shortRun(config: Config, options: ShortRunOptions): Promise<ShortRun> {
  const { signal } = options;
  return inThrowawayFolder(config, options, async (path, folder) => {
    const child = spawn(process.execPath, [ringtuneProgram, "train", path], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      signal,
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    }
    let running = true;
    const ended = new Promise<number | null>((resolve) => {
      child.once("error", () => resolve(null));
      child.once("close", resolve);
    }).finally(() => (running = false));
    let workerBytes = 0;
    while (running) {
      workerBytes = Math.max(workerBytes, await peakOfChildren(child.pid ?? 0));
      await Promise.race([ended, delay(LOOK_EVERY_MS)]);
    }
    signal.throwIfAborted();
    if ((await ended) !== 0) return { kind: "failed", reason: lastSentence(output) };
    const run = join(folder, "runs/short");
    const lines = (await readFile(join(run, "metrics.jsonl"), "utf8")).trim().split("\n");
    const records = lines.map((line) => JSON.parse(line) as RunRecord);
    return {
      kind: "done",
      engine: /^computing on (.*)$/m.exec(output)?.[1] ?? "unknown",
      steps: records.filter((record): record is StepRecord => record.kind === "step"),
      workerBytes,
      checkpointBytes: await folderBytes(join(run, "latest")),
    };
  });
}

/** The run as configured, but short, alone, and without anything that would outlive it. */
export async function inThrowawayFolder<T>(
  config: Config,
  { workers, steps }: Pick<ShortRunOptions, "workers" | "steps">,
  use: (path: string, folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-short-"));
  // What is undefined is left out when it is written.
  const short = {
    ...config,
    train: {
      ...config.train,
      steps,
      epochs: undefined,
      early_stopping: undefined,
      warmup_ratio: undefined,
      warmup_steps: 0,
      eval_every: 0,
    },
    cluster: { ...config.cluster, workers, port: 0, join_timeout_s: Math.max(60, config.cluster.join_timeout_s) },
    checkpoint: { ...config.checkpoint, dir: join(folder, "runs"), name: "short", every: 0 },
    metrics: { ...config.metrics, port: 0 },
  };
  try {
    const path = join(folder, "short.json");
    await writeFile(path, JSON.stringify(short));
    return await use(path, folder);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Largest resident size so far of the processes that `pid` has started; 0 where that is not known. */
async function peakOfChildren(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const sizes = children.split(" ").map(async (child) => {
    const status = child === "" ? "" : await readFile(`/proc/${child}/status`, "utf8").catch(() => "");
    return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
  });
  return Math.max(0, ...(await Promise.all(sizes)));
}

function lastSentence(output: string): string {
  const lines = output.trim().split("\n");
  return (lines.findLast((line) => line.startsWith("ringtune: ")) ?? lines.at(-1) ?? "it says nothing").replace(
    "ringtune: ",
    "",
  );
}
