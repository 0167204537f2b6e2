// Many simulated workers against one real coordinator: how fast it steps, how long a commit takes, what it uses. The
// coordinator is a process of its own (`ringtune coordinator`), the workers are streams of this one.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { quantile } from "../../common/median.ts";
import { readUsage, type Usage } from "./process-usage.ts";
import { simulateWorker } from "./simulated-worker.ts";
import { startCoordinator, type StartedCoordinator } from "./start-coordinator.ts";

export interface LoadOptions {
  readonly workers: number;
  readonly steps: number;
  /** Of each simulated worker, for each step. */
  readonly computeMs: number;
  readonly signal: AbortSignal;
  readonly onStep?: (step: number) => void;
}

export interface LoadResult {
  readonly workers: number;
  /** Measured ones: the first tenth warms up and is left out. */
  readonly steps: number;
  readonly computeMs: number;
  readonly joinSeconds: number;
  readonly stepsPerSecond: number;
  /** From the last worker's vote to the commit's arrival at the last worker, in milliseconds. */
  readonly commitMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /** Cores that the coordinator used. */
  readonly coordinatorCores: number;
  readonly residentBytes: number;
  /** Least-squares slope of the resident size over the measured steps. */
  readonly residentBytesPerStep: number;
  /** Sent and received by the coordinator. */
  readonly bytesPerStep: number;
  /** Resident size at steps, for a plot. */
  readonly memory: readonly { readonly step: number; readonly residentBytes: number }[];
}

const SAMPLE_EVERY_MS = 250;
const SEQUENCE = 16;

/** Throws what the coordinator, or a worker, says when it fails. */
export async function loadTest(options: LoadOptions): Promise<LoadResult> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-load-"));
  const abandon = new AbortController();
  let coordinator: StartedCoordinator | undefined;
  try {
    const started = performance.now();
    const config = join(folder, "load.json");
    await writeFile(join(folder, "text.txt"), syntheticText());
    await writeFile(config, JSON.stringify(configuration(folder, options)));
    coordinator = await startCoordinator(config, folder, options.signal);
    const { child, address, joinToken, failed } = coordinator;
    const clock = createStepClock(options);
    const sampler = sample(child.pid!, clock, abandon.signal);
    const ids = Array.from({ length: options.workers }, (_, i) => `s${i}`);
    const runs = ids.map((id) =>
      simulateWorker({
        coordinator: address,
        joinToken,
        id,
        computeMs: options.computeMs,
        onVote: clock.voted,
        onCommit: clock.committed,
      }),
    );
    await Promise.race([Promise.all(runs), failed]);
    abandon.abort();
    const usage = await sampler;
    const joinSeconds = (clock.firstVoteMs() - started) / 1000;
    return { workers: options.workers, computeMs: options.computeMs, joinSeconds, ...summarise(clock, usage) };
  } finally {
    abandon.abort();
    coordinator?.child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function configuration(folder: string, { workers, steps }: LoadOptions): unknown {
  return {
    model: { size: "nano" },
    tokenizer: { vocab_size: 257 },
    data: { source: join(folder, "text.txt"), validation_fraction: 0, cache: join(folder, "cache") },
    train: { steps, global_batch: workers, microbatch: 1, sequence_length: SEQUENCE, eval_every: 0 },
    cluster: { workers, join_timeout_s: 300 },
    checkpoint: { dir: join(folder, "runs"), name: "load", every: 0 },
    metrics: { port: 0 },
  };
}

function syntheticText(): string {
  return Array.from({ length: 20_000 }, (_, i) => `line ${i} of a text that nobody reads`).join("\n");
}

interface StepClock {
  readonly voted: (step: number) => void;
  readonly committed: (step: number) => void;
  readonly firstVoteMs: () => number;
  /** The last step that all workers know to be committed. */
  readonly current: () => number;
  /** By step: when the last vote left and when the last commit arrived. */
  readonly steps: ReadonlyMap<number, { readonly votedMs: number; readonly committedMs: number }>;
}

function createStepClock({ workers, onStep }: LoadOptions): StepClock {
  const steps = new Map<number, { votedMs: number; committedMs: number; commits: number }>();
  let first = 0;
  let current = 0;
  const at = (step: number) => {
    const known = steps.get(step) ?? { votedMs: 0, committedMs: 0, commits: 0 };
    steps.set(step, known);
    return known;
  };
  return {
    steps,
    current: () => current,
    firstVoteMs: () => first,
    voted(step) {
      const now = performance.now();
      if (first === 0) first = now;
      at(step).votedMs = now;
    },
    committed(step) {
      const known = at(step);
      known.committedMs = performance.now();
      known.commits += 1;
      if (known.commits < workers) return;
      current = step;
      onStep?.(step);
    },
  };
}

interface UsageSample extends Usage {
  readonly step: number;
  readonly atMs: number;
}

async function sample(pid: number, clock: StepClock, signal: AbortSignal): Promise<UsageSample[]> {
  const samples: UsageSample[] = [];
  while (!signal.aborted) {
    const usage = await readUsage(pid).catch(() => undefined);
    if (usage !== undefined) samples.push({ ...usage, step: clock.current(), atMs: performance.now() });
    await delay(SAMPLE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
  return samples;
}

function summarise(clock: StepClock, samples: readonly UsageSample[]) {
  const last = clock.current();
  const warm = Math.ceil(last / 10);
  const measured = [...clock.steps].filter(([step]) => step > warm && step <= last);
  const waits = measured.map(([, { votedMs, committedMs }]) => committedMs - votedMs);
  const begin = clock.steps.get(warm)?.committedMs ?? NaN;
  const end = clock.steps.get(last)?.committedMs ?? NaN;
  const warmSamples = samples.filter(({ step }) => step >= warm && step < last);
  const [a, b] = [warmSamples[0], warmSamples.at(-1)];
  const known = a !== undefined && b !== undefined && b.step > a.step;
  const bytes = known ? b.readBytes + b.writtenBytes - a.readBytes - a.writtenBytes : NaN;
  return {
    steps: measured.length,
    stepsPerSecond: measured.length / ((end - begin) / 1000),
    commitMs: {
      p50: quantile(waits, 0.5),
      p90: quantile(waits, 0.9),
      p99: quantile(waits, 0.99),
      max: quantile(waits, 1),
    },
    coordinatorCores: known ? (b.cpuSeconds - a.cpuSeconds) / ((b.atMs - a.atMs) / 1000) : NaN,
    residentBytes: b?.residentBytes ?? NaN,
    residentBytesPerStep: slope(warmSamples.map(({ step, residentBytes }) => [step, residentBytes])),
    bytesPerStep: known ? bytes / (b.step - a.step) : NaN,
    memory: samples.map(({ step, residentBytes }) => ({ step, residentBytes })),
  };
}

/** Of the least-squares line through points (x, y). */
export function slope(points: readonly (readonly [number, number])[]): number {
  const n = points.length;
  const mx = points.reduce((sum, [x]) => sum + x, 0) / n;
  const my = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const xx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  return points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / xx;
}
