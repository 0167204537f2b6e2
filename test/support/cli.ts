// The real command line as real processes, for integration tests: dist/ must be built (make test does).

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { logLineSchema, type LogLine } from "../../common/log-line.ts";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord, StepRecord, ValidationRecord } from "../../common/records.ts";
import { followRecords } from "../../coordinator/chaos/records.ts";

export const program = join(packageRoot, "dist/coordinator/cli/main.js");

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** Everything printed so far, both streams. */
  readonly output: () => string;
  /** Resolves with the match as soon as the output contains it; rejects when the process ends without it. */
  waitFor(pattern: RegExp): Promise<RegExpExecArray>;
  readonly finished: Promise<Finished>;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** A command that runs the program, such as "ip netns exec NAME". */
  readonly prefix?: readonly string[];
}

/** Starts `ringtune ARGS`; killed at the end of the test if it is still there. */
export function start(args: readonly string[], options: StartOptions = {}): Running {
  const [command = "", ...rest] = [...(options.prefix ?? []), process.execPath, program, ...args];
  const child = spawn(command, rest, {
    cwd: options.cwd ?? packageRoot,
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  const watchers = new Set<() => void>();
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (chunk: string) => {
      text[stream] += chunk;
      watchers.forEach((watcher) => watcher());
    });
  }
  const finished = new Promise<Finished>((resolve) => {
    child.once("close", (code, signal) => {
      resolve({ code, signal, ...text });
      watchers.forEach((watcher) => watcher());
    });
  });
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await finished;
  });
  const output = (): string => text.stdout + text.stderr;
  return {
    child,
    output,
    finished,
    waitFor: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(output());
          const ended = child.exitCode !== null || child.signalCode !== null;
          if (match === null && !ended) return;
          watchers.delete(look);
          if (match !== null) resolve(match);
          else reject(new Error(`the process ended without printing ${pattern}:\n${output()}`));
        };
        watchers.add(look);
        look();
      }),
  };
}

/** Runs `ringtune ARGS` to its end. */
export function finish(args: readonly string[], options: StartOptions = {}) {
  return start(args, options).finished;
}

export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(" ").filter(Boolean).map(Number);
}

/** A folder that is removed at the end of the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

export interface SmallRun {
  /** Holds the data, the cache and the runs. */
  readonly folder: string;
  readonly config: string;
}

/** A configuration of a model of 30 thousand parameters on a small text, in a folder of its own or in the one given. */
export async function smallRun(train: Record<string, unknown> = {}, given?: string): Promise<SmallRun> {
  const folder = given ?? (await temporaryFolder());
  const text = join(folder, "data.jsonl");
  await writeFile(text, smallCorpus());
  const config = join(folder, "small.yaml");
  const settings = {
    model: { layers: 2, hidden: 32, heads: 2, positions: 32 },
    tokenizer: { vocab_size: 320 },
    data: { source: text, validation_fraction: 0.2, cache: join(folder, "cache") },
    train: {
      steps: 20,
      global_batch: 12,
      microbatch: 4,
      sequence_length: 16,
      warmup_steps: 5,
      learning_rate: 0.003,
      eval_every: 10,
      ...train,
    },
    cluster: { threads: 1 },
    checkpoint: { dir: join(folder, "runs"), every: 5 },
    metrics: { enabled: false },
  };
  await writeFile(config, JSON.stringify(settings));
  return { folder, config };
}

export async function readRecords(run: string): Promise<RunRecord[]> {
  const lines = (await readFile(join(run, "metrics.jsonl"), "utf8")).trim().split("\n");
  return lines.map((line) => JSON.parse(line) as RunRecord);
}

/** Resolves with the first recorded step of a run for which this holds; what a run prints may be ahead of what it recorded. */
export async function waitForStep(run: string, holds: (record: StepRecord) => boolean): Promise<StepRecord> {
  const records = followRecords(join(run, "metrics.jsonl"));
  onTestFinished(() => records.close());
  return records.when(holds, new AbortController().signal);
}

export async function readSteps(run: string): Promise<StepRecord[]> {
  return (await readRecords(run)).filter((record) => record.kind === "step");
}

export async function readValidations(run: string): Promise<ValidationRecord[]> {
  return (await readRecords(run)).filter((record) => record.kind === "validation");
}

/** What a worker printed on a pipe: lines of JSON, and nothing else. */
export function linesOf({ stdout }: Pick<Finished, "stdout">): LogLine[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => logLineSchema.parse(JSON.parse(line)));
}

/** Sentences of a tiny grammar, forty documents: regular enough to be learned in a few steps. */
function smallCorpus(): string {
  const subjects = ["the farmer", "a miller", "the old captain", "my sister", "the smith"];
  const verbs = ["sells", "carries", "paints", "counts", "mends"];
  const objects = ["seven boats", "the red wheel", "a sack of flour", "three lamps", "the garden gate"];
  const documents = Array.from({ length: 40 }, (_, d) => {
    const sentences = Array.from({ length: 12 }, (_, s) => {
      const pick = (words: string[], salt: number): string =>
        words[(d * salt + s * (salt + 2) + d * s) % words.length]!;
      return `${pick(subjects, 3)} ${pick(verbs, 7)} ${pick(objects, 11)}.`;
    });
    return JSON.stringify({ text: sentences.join(" ") });
  });
  return `${documents.join("\n")}\n`;
}
