// How a run that can't be is to end: soon, with one sentence, without a process left behind and without a scratch on an
// earlier run. For tests of bad input on real processes.

import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { cp, lstat, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { program, smallRun, start, type Finished, type SmallRun } from "./cli.ts";

export interface EarlierRun extends SmallRun {
  /** A complete run of ten steps, with the checkpoints of steps 5 and 10. */
  readonly run: string;
  /** A copy of it, to be damaged. */
  copy(): Promise<string>;
  remove(): Promise<void>;
}

/** Trains the run that must not be damaged. For `beforeAll`. */
export async function trainEarlierRun(): Promise<EarlierRun> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-bad-input-"));
  const small = await smallRun({ steps: 10, eval_every: 5 }, folder);
  await promisify(execFile)(process.execPath, [program, "train", small.config, "--set", "checkpoint.name=earlier"]);
  const run = join(folder, "runs/earlier");
  return {
    ...small,
    run,
    async copy() {
      const path = join(folder, "copies", randomUUID().slice(0, 8));
      await cp(run, path, { recursive: true, verbatimSymlinks: true });
      return path;
    },
    remove: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
}

/**
 * Runs `ringtune ARGS`, which is refused: exit code, one sentence on stderr, no stack, no process left. Returns the
 * sentence without its "ringtune: ".
 */
export async function refusal(
  args: readonly string[],
  options: { code?: number; cwd?: string; env?: NodeJS.ProcessEnv; speaker?: string } = {},
): Promise<string> {
  const { code = 1, speaker = "ringtune", env, ...rest } = options;
  const tag = randomUUID();
  const result = await start(args, { ...rest, env: { ...env, RINGTUNE_TEST_TAG: tag } }).finished;
  expect(await processesWith(tag), "processes that were left behind").toEqual([]);
  return sentenceOf(result, code, speaker);
}

/** The one sentence of a command that has failed. */
export function sentenceOf(result: Finished, code: number, speaker = "ringtune"): string {
  const { stderr } = result;
  expect(result.code, stderr + result.stdout).toBe(code);
  expect(stderr).not.toMatch(/^\s+at |node:internal|\u001b|bug in Ringtune|\bundefined\b/m);
  expect(stderr.trimEnd().split("\n"), stderr).toHaveLength(1);
  expect(stderr.startsWith(`${speaker}: `), stderr).toBe(true);
  const sentence = stderr.slice(speaker.length + 2).trimEnd();
  // Said once: what ended a run does not stand on stdout as well.
  expect(result.stdout).not.toContain(sentence);
  return sentence;
}

/**
 * Every file and link below `folder`, hidden ones included, with the digest of its contents or its target. But the logs of runs,
 * in which refused attempts have a line.
 */
export async function fingerprint(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    if (basename(name) === "log.jsonl") continue;
    const path = join(folder, name);
    const info = await lstat(path);
    if (info.isSymbolicLink()) found[name] = `-> ${await readlink(path)}`;
    else if (info.isFile())
      found[name] = createHash("sha256")
        .update(await readFile(path))
        .digest("hex");
    else found[name] = "folder";
  }
  return found;
}

/** Living processes that were started with this tag in their environment; none where there is no /proc. */
export async function processesWith(tag: string): Promise<string[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found: string[] = [];
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    if (!environment.includes(tag)) continue;
    const state = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (/\) [^ZX] /.test(state)) found.push(await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => pid));
  }
  return found;
}
