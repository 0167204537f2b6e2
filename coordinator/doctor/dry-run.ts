// A few steps of the configured run in a folder that is thrown away. Real: `ringtune train` with one worker, whose time and
// memory are measured. Fake: a real coordinator and so many streams that only pretend to compute, to see that a cluster
// of that size can be served from here.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../../common/config/schema.ts";
import { describeError } from "../../common/errors.ts";
import type { StepRecord } from "../../common/records.ts";
import { describeQuantity } from "../cli/quantities.ts";
import { simulateWorker } from "../load/simulated-worker.ts";
import { ringtuneProgram, startCoordinator, type StartedCoordinator } from "../load/start-coordinator.ts";
import { folderBytes } from "../store/disk-space.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";
import { availableMemory } from "./machine.ts";

/** The first step warms up, the second is what the others will be like. */
const STEPS = 2;
const LOOK_EVERY_MS = 50;

export interface DryRun {
  readonly findings: readonly Finding[];
  /** Of the checkpoint that it wrote. */
  readonly checkpointBytes?: number;
}

/** `workers` of the run to come share the machine's memory. */
export async function runOneWorker(config: Config, workers: number, signal: AbortSignal): Promise<DryRun> {
  return inThrowawayFolder(config, 1, async (path, folder) => {
    const before = await availableMemory();
    const child = spawn(process.execPath, [ringtuneProgram, "train", path], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      signal,
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    let running = true;
    const ended = new Promise<number | null>((resolve) => {
      child.once("error", () => resolve(null));
      child.once("close", resolve);
    }).finally(() => (running = false));
    let peak = 0;
    while (running) {
      peak = Math.max(peak, await peakOfChildren(child.pid ?? 0));
      await Promise.race([ended, delay(LOOK_EVERY_MS)]);
    }
    signal.throwIfAborted();
    const code = await ended;
    if (code !== 0) return { findings: [fail("dry run", `one worker fails: ${lastSentence(output)}`)] };
    const engine = /^computing on (.*)$/m.exec(output)?.[1] ?? "unknown";
    const records = (await readFile(join(folder, "runs/doctor/metrics.jsonl"), "utf8")).trim().split("\n");
    const steps = records.map((line) => JSON.parse(line) as StepRecord).filter(({ kind }) => kind === "step");
    const last = steps.at(-1)!;
    const { seconds, tokens } = last;
    const speed = `${describeQuantity(tokens / seconds.total)} tokens/s`;
    const findings = [
      ok(
        "dry run",
        `one worker on ${engine}: a step of ${tokens} targets takes ${seconds.total.toFixed(2)} s (${speed}), loss ${last.loss.toFixed(4)}`,
      ),
      ...memoryFinding(peak, workers, before),
    ];
    return { findings, checkpointBytes: await folderBytes(join(folder, "runs/doctor/latest")) };
  });
}

function memoryFinding(peak: number, workers: number, available: number | undefined): Finding[] {
  if (peak === 0 || available === undefined) return [];
  const need = peak * workers;
  const sizes = `a worker takes ${describeQuantity(peak)}B of memory at its peak, ${workers} take ${describeQuantity(need)}B, ${describeQuantity(available)}B are free`;
  if (need > available)
    return [fail("memory", `${sizes}; lower train.microbatch or cluster.workers, or set train.recompute: blocks`)];
  return [need > 0.9 * available ? warn("memory", `${sizes}, which is nearly all`) : ok("memory", sizes)];
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

/** Streams that keep to the protocol and compute nothing. */
export async function runFakeCluster(config: Config, workers: number, signal: AbortSignal): Promise<Finding[]> {
  if (workers > config.train.global_batch) {
    const both = `${workers} workers can't share train.global_batch ${config.train.global_batch}`;
    return [fail("fake cluster", `${both}: some would have no sequence`)];
  }
  return inThrowawayFolder(config, workers, async (path, folder) => {
    const began = performance.now();
    let coordinator: StartedCoordinator | undefined;
    try {
      coordinator = await startCoordinator(path, folder, signal);
      const { address, joinToken, failed } = coordinator;
      const commits: number[] = [];
      let votedMs = 0;
      const onVote = (): void => void (votedMs = performance.now());
      const onCommit = (step: number): void => void (commits[step] = performance.now() - votedMs);
      const options = { coordinator: address, joinToken, computeMs: 0, onVote, onCommit };
      const runs = Array.from({ length: workers }, (_, i) => simulateWorker({ ...options, id: `fake${i}` }));
      await Promise.race([Promise.all(runs), failed]);
      signal.throwIfAborted();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const commit = (commits[STEPS] ?? NaN).toFixed(0);
      return [
        ok(
          "fake cluster",
          `${workers} workers joined, took ${STEPS} steps and a checkpoint in ${seconds} s; a commit reached them all ${commit} ms after the last vote`,
        ),
      ];
    } catch (error) {
      signal.throwIfAborted();
      return [fail("fake cluster", describeError(error))];
    } finally {
      coordinator?.child.kill("SIGKILL");
    }
  });
}

/** The run as configured, but short, alone, and without anything that would outlive it. */
async function inThrowawayFolder<T>(
  config: Config,
  workers: number,
  use: (path: string, folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-doctor-"));
  // What is undefined is left out when it is written.
  const short = {
    ...config,
    train: {
      ...config.train,
      steps: STEPS,
      epochs: undefined,
      early_stopping: undefined,
      warmup_ratio: undefined,
      warmup_steps: 0,
      eval_every: 0,
    },
    cluster: { ...config.cluster, workers, port: 0, join_timeout_s: Math.max(60, config.cluster.join_timeout_s) },
    checkpoint: { ...config.checkpoint, dir: join(folder, "runs"), name: "doctor", every: 0 },
    metrics: { ...config.metrics, port: 0 },
  };
  try {
    const path = join(folder, "doctor.json");
    await writeFile(path, JSON.stringify(short));
    return await use(path, folder);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function lastSentence(output: string): string {
  const lines = output.trim().split("\n");
  return (lines.findLast((line) => line.startsWith("ringtune: ")) ?? lines.at(-1) ?? "it says nothing").replace(
    "ringtune: ",
    "",
  );
}
