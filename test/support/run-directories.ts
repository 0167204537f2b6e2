// Run directories in a folder of their own, for tests of what is kept in them: made, opened, saved into, and closed at the end.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { loadConfig } from "../../common/config/load.ts";
import type { Config } from "../../common/config/schema.ts";
import { RingtuneError, type ErrorCode } from "../../common/errors.ts";
import type { RunRecord, StepRecord } from "../../common/records.ts";
import { createRunDirectory, openRunDirectory, type RunDirectory } from "../../coordinator/store/run-directory.ts";

/** Of the test that runs. */
export let folder = "";
export let config: Config;
const opened: RunDirectory[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ringtune-store-"));
  config = await configOf();
});

afterEach(async () => {
  for (const run of opened.splice(0)) await run.close().catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

export function configOf(...overrides: string[]): Promise<Config> {
  return loadConfig({ overrides: ["train.steps=9", `checkpoint.dir=${join(folder, "runs")}`, ...overrides] });
}

export async function create(from: Config = config, at = new Date()): Promise<RunDirectory> {
  const run = await createRunDirectory(from, at);
  opened.push(run);
  return run;
}

export async function open(path: string): Promise<RunDirectory> {
  const run = await openRunDirectory(path);
  opened.push(run);
  return run;
}

export async function failure(promise: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RingtuneError)) throw new Error(`no RingtuneError but ${String(error)}`);
  return error;
}

/** What a worker does when it is told to save. */
export async function save(run: RunDirectory, step: number, weights = "weights"): Promise<void> {
  const path = run.checkpointPath(step);
  await mkdir(path);
  await writeFile(join(path, "model.safetensors"), weights);
  const files = { "model.safetensors": { sizeBytes: weights.length, sha256: "" } };
  await writeFile(join(path, "state.json"), JSON.stringify({ step, position: step * 16, files }));
}

export function record(step: number): StepRecord {
  const seconds = { data: 0, compute: 1, allReduce: 0, commit: 0, total: 1 };
  const counts = { samples: 1, tokens: 1, allReduceBytes: 0, busBandwidth: 0, worldSize: 1, generation: 1, timeMs: 0 };
  return { kind: "step", step, epoch: 0, loss: 1, learningRate: 1, gradientNorm: 1, seconds, ...counts };
}

export function validation(step: number): RunRecord {
  return { kind: "validation", step, loss: 1, perplexity: Math.E, tokens: 1, seconds: 1, timeMs: 0 };
}
