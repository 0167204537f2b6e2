// The real command line as real processes, for integration tests: dist/ must be built (make test does).

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, onTestFinished } from "vitest";
import { assert } from "../../common/errors.ts";
import { logLineSchema, type LogLine } from "../../common/log-line.ts";
import { packageRoot } from "../../common/package-root.ts";
import type { RunRecord, StepRecord, ValidationRecord } from "../../common/records.ts";
import { followRecords } from "../../coordinator/chaos/records.ts";
import { PAUSE_AT } from "./pause-at.ts";

export const program = join(packageRoot, "dist/coordinator/cli/main.js");
const pause = join(packageRoot, "dist/test/support/pause-at.js");

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** Everything printed so far, both streams, line by line as they came. */
  readonly output: () => string;
  /** Resolves with the match as soon as the output contains it; rejects when the process ends without it. */
  waitFor(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves when the process stands still, see `pauseAt`. SIGCONT lets it go on. */
  paused(): Promise<void>;
  readonly finished: Promise<Finished>;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** A command that runs the program, such as "ip netns exec NAME". */
  readonly prefix?: readonly string[];
  /**
   * When it prints this, the process stops itself (pause-at.ts), so that what a test does then happens then, however slow the
   * machine is. Its workers go on.
   */
  readonly pauseAt?: RegExp;
}

/** Starts `ringtune ARGS`; killed at the end of the test if it is still there. */
export function start(args: readonly string[], options: StartOptions = {}): Running {
  const [command = "", ...rest] = [...(options.prefix ?? []), process.execPath, program, ...args];
  const { cwd = packageRoot, pauseAt } = options;
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", ...options.env };
  if (pauseAt !== undefined) {
    env["NODE_OPTIONS"] = `${env["NODE_OPTIONS"] ?? ""} --import=${pathToFileURL(pause)}`;
    env[PAUSE_AT] = pauseAt.source;
  }
  const child = spawn(command, rest, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  /** Whole lines of both, and what has begun. */
  let lines = "";
  const begun = { stdout: "", stderr: "" };
  let isOver = false;
  const watchers = new Set<() => void>();
  const look = (): void => watchers.forEach((watcher) => watcher());
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (chunk: string) => {
      text[stream] += chunk;
      begun[stream] += chunk;
      const end = begun[stream].lastIndexOf("\n") + 1;
      lines += begun[stream].slice(0, end);
      begun[stream] = begun[stream].slice(end);
      look();
    });
  }
  // Not "exit": what it printed last may come after that.
  const finished = new Promise<Finished>((resolve) => {
    child.once("close", (code, signal) => {
      isOver = true;
      resolve({ code, signal, ...text });
      look();
    });
  });
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await finished;
  });
  const output = (): string => lines + begun.stdout + begun.stderr;
  const waitFor = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const watcher = (): void => {
        const match = pattern.exec(output());
        if (match === null && !isOver) return;
        watchers.delete(watcher);
        if (match !== null) resolve(match);
        else reject(new Error(`the process ended without printing ${pattern}:\n${output()}`));
      };
      watchers.add(watcher);
      watcher();
    });
  return {
    child,
    output,
    finished,
    waitFor,
    async paused() {
      assert(pauseAt !== undefined, "it is started with pauseAt");
      await waitFor(pauseAt);
      await expect.poll(() => readFile(`/proc/${child.pid}/stat`, "utf8")).toMatch(/\) T /);
    },
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

/** A process that has ended but that nobody has asked for is not alive. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return /\) [^ZX] /.test(stat);
}

/** A folder that is removed at the end of the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-test-"));
  // Workers whose coordinator is gone may be writing there a little longer.
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 20 }));
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

/** Resolves with the first recorded step for which this holds; that a generation is formed is said before it has recorded any. */
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
