// A run from its configuration to its results: data, run directory, servers, workers, the driver, and the end of all of
// them. What `ringtune train` and `ringtune coordinator` have in common, which is everything but who starts the workers.

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../common/atomic-file.ts";
import { assertResumable } from "../common/config/resume.ts";
import type { Config } from "../common/config/schema.ts";
import { resolveGpt2Config } from "../common/config/sizes.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { serveSessions } from "../proto/session.ts";
import { totalSteps, type Job, type Start } from "./core/job.ts";
import { warmupStepsOf } from "./core/schedule.ts";
import type { Outcome } from "./core/state.ts";
import { renderCurve } from "./curve.ts";
import type { TokenDataset } from "./data/dataset.ts";
import type { TokenizerFiles } from "./data/obtain-tokenizer.ts";
import { prepareData, type PreparedData } from "./data/prepare.ts";
import { createSampler, evenlySpaced } from "./data/sampler.ts";
import { launchWorkers } from "./launcher.ts";
import { createMetrics, serveMetrics } from "./metrics.ts";
import type { Progress } from "./progress.ts";
import { createBatches } from "./rpc/batches.ts";
import { createDriver } from "./rpc/driver.ts";
import { createRunDirectory, openRunDirectory, type RunDirectory } from "./store/run-directory.ts";

export interface RunOptions {
  readonly config: Config;
  /** A run directory to go on with. */
  readonly resume?: string;
  /** Start the workers on this host; otherwise wait for workers that are started by hand. */
  readonly launch: boolean;
  readonly progress: Progress;
  /** Aborting saves what is committed and ends the run. */
  readonly signal: AbortSignal;
}

export interface RunResult {
  readonly outcome: Outcome;
  readonly directory: string;
  /** Validation perplexities, in order; empty without validation. */
  readonly perplexities: readonly number[];
}

/** Batches that are planned and not yet committed, and the one before, which a reader may still hold. */
const BATCHES_HELD = 4;
/** A worker that was told to finish ends at once, unless it is in the middle of a microbatch. */
const WORKER_GRACE_MS = 10_000;

/** Throws what is wrong before the first step; what ends the run later is the outcome. */
export async function run(options: RunOptions): Promise<RunResult> {
  const { config, resume, progress, signal } = options;
  const opened = resume === undefined ? undefined : await openRunDirectory(resume);
  let directory = opened;
  try {
    if (opened !== undefined) assertResumable(opened.config, config, opened.path);
    const data = await prepareData(config, {
      onNotice: (line) => progress.notice(line),
      onProgress: (state) => progress.data(state),
      signal,
      tokenizer: opened && (await readTokenizer(opened)),
    });
    const modelConfig = await readModelConfig(config, opened, data);
    directory ??= await createRunDirectory(config);
    if (opened === undefined) await directory.writeTokenizer(data.tokenizer.json, data.tokenizerConfigJson);
    else await directory.writeConfig(config);
    await assertSameData(directory, data.summary.digest);
    const job = await createJob(config, directory, data);
    progress.setTotalSteps(totalSteps(job));
    const outcome = await train(options, { directory, data, modelConfig, job });
    const records = await directory.readRecords();
    await directory.writeCurve(renderCurve(records));
    const perplexities = records.flatMap((record) => (record.kind === "validation" ? record.perplexity : []));
    return { outcome, directory: directory.path, perplexities };
  } finally {
    await directory?.discard();
  }
}

interface Prepared {
  readonly directory: RunDirectory;
  readonly data: PreparedData;
  /** Hugging Face config.json. */
  readonly modelConfig: string;
  readonly job: Job;
}

async function train(options: RunOptions, { directory, data, modelConfig, job }: Prepared): Promise<Outcome> {
  const { config, progress, signal } = options;
  const joinToken = randomBytes(24).toString("base64url");
  const metrics = createMetrics();
  const closers: (() => Promise<unknown> | void)[] = [];
  const { sampleAt } = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const validationRows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  try {
    const driver = createDriver({
      job,
      joinToken,
      welcome: {
        jobId: job.id,
        heartbeatSeconds: config.cluster.heartbeat_s,
        engine: config.cluster.engine,
        device: config.cluster.device,
        threads: config.cluster.threads === "auto" ? 0 : config.cluster.threads,
        modelConfigJson: modelConfig,
        tokenizerJson: data.tokenizer.json,
        tokenizerConfigJson: data.tokenizerConfigJson,
        optimizerJson: JSON.stringify(config.train.optimizer),
        seed: config.train.seed,
      },
      training: createBatches(data.train, (position) => sampleAt(position).index, BATCHES_HELD),
      validation: createBatches(data.validation ?? data.train, (row) => validationRows[row] ?? 0, 1),
      checkpointPath: (step) => directory.checkpointPath(step),
      async record(record) {
        if (record.kind === "step") metrics.observeStep(record);
        else metrics.observeValidation(record);
        progress.record(record);
        await directory.append(record);
      },
      async publish(step) {
        const checkpoint = await directory.publish(step);
        progress.checkpoint(step, checkpoint.path);
      },
      generation(generation, worldSize) {
        metrics.setGeneration(generation);
        metrics.setWorldSize(worldSize);
      },
      decided: (reason) => progress.decided(reason),
    });
    if (config.metrics.enabled) {
      const server = await serveMetrics({ host: config.metrics.host, port: config.metrics.port, metrics });
      closers.push(() => server.close());
      progress.notice(`metrics at ${server.url}`);
    }
    const { host, port } = config.cluster;
    const sessions = await serveSessions({ host, port, accept: (session) => driver.accept(session) });
    closers.push(() => sessions.close());
    if (options.launch) {
      const launched = launchWorkers({
        count: job.workers,
        coordinator: sessions.address,
        joinToken,
        onFailure(reason) {
          progress.notice(reason);
          driver.post({ kind: "launch-failed", reason });
        },
      });
      closers.push(() => launched.close(WORKER_GRACE_MS));
    } else {
      const tokenFile = directory.file("join-token");
      await writeFileAtomic(tokenFile, `${joinToken}\n`, { mode: 0o600 });
      progress.notice(
        `waiting for ${job.workers} workers at ${sessions.address}; start each on a terminal of its own:`,
      );
      progress.notice(`  ringtune worker --coordinator ${sessions.address} --token-file ${tokenFile}`);
    }
    const stop = (): void => driver.post({ kind: "stop", reason: describeError(signal.reason) });
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    const outcome = await driver.outcome;
    signal.removeEventListener("abort", stop);
    return outcome;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

async function readTokenizer(directory: RunDirectory): Promise<TokenizerFiles> {
  const source = directory.file("tokenizer.json");
  try {
    const json = await readFile(source, "utf8");
    const configJson = await readFile(directory.file("tokenizer_config.json"), "utf8");
    return { json, configJson, source };
  } catch (cause) {
    throw new RingtuneError("checkpoint_invalid", `cannot read the run's tokenizer: ${describeError(cause)}`, {
      cause,
    });
  }
}

/** A resumed run goes on with the samples it began with, or not at all. */
async function assertSameData(directory: RunDirectory, digest: string): Promise<void> {
  const path = directory.file("data.json");
  if (directory.checkpoint === undefined) return writeFileAtomic(path, `${JSON.stringify({ digest })}\n`);
  const saved = JSON.parse(await readFile(path, "utf8")) as { digest: string };
  if (saved.digest === digest) return;
  throw new RingtuneError(
    "data_invalid",
    `the data has changed since the run ${directory.path} began: its tokens have digest ${digest} now, ${saved.digest} then; put the old data back, or train into a new run`,
  );
}

async function createJob(config: Config, directory: RunDirectory, data: PreparedData): Promise<Job> {
  const { train, cluster, checkpoint } = config;
  const samplesPerEpoch = data.train.sampleCount;
  const totalSamples =
    train.steps === undefined ? Math.ceil((train.epochs ?? 1) * samplesPerEpoch) : train.steps * train.global_batch;
  const steps = Math.ceil(totalSamples / train.global_batch);
  const start = await startOf(config, directory);
  if (start.step >= steps) {
    throw new RingtuneError(
      "config_invalid",
      `the run ${directory.path} has done ${start.step} steps and the configuration asks for ${steps}; raise train.steps to go on`,
    );
  }
  return {
    id: directory.name,
    workers: cluster.workers === "auto" ? 1 : cluster.workers,
    globalBatch: train.global_batch,
    microbatch: train.microbatch,
    totalSamples,
    samplesPerEpoch,
    validationSequences: validationCount(config, data.validation),
    evalEvery: train.eval_every,
    checkpointEvery: checkpoint.every,
    schedule: {
      schedule: train.schedule,
      peak: train.learning_rate,
      min: train.min_learning_rate,
      warmupSteps: warmupStepsOf(train, steps),
      totalSteps: steps,
    },
    clip: train.clip,
    joinTimeoutMs: cluster.join_timeout_s * 1000,
    stepTimeoutMs: cluster.step_timeout_s * 1000,
    start,
  };
}

function validationCount(config: Config, validation: TokenDataset | null): number {
  return Math.min(validation?.sampleCount ?? 0, config.train.eval_sequences);
}

async function startOf(config: Config, directory: RunDirectory): Promise<Start> {
  if (directory.checkpoint !== undefined) {
    const { path, step } = directory.checkpoint;
    const records = await directory.readRecords();
    const validated = records.some((record) => record.kind === "validation" && record.step === step);
    return { kind: "checkpoint", step, path, validated };
  }
  if (config.model.from !== undefined) return { kind: "model", step: 0, path: config.model.from };
  return { kind: "seed", step: 0 };
}

/** The model's config.json: the run's own, that of the directory to start from, or one for the named size. */
async function readModelConfig(config: Config, opened: RunDirectory | undefined, data: PreparedData): Promise<string> {
  const folder = opened?.checkpoint?.path ?? config.model.from;
  const { vocabSize, eosId } = data.tokenizer;
  if (folder === undefined) return JSON.stringify(resolveGpt2Config(config, vocabSize, eosId), null, 2);
  const path = join(folder, "config.json");
  try {
    const text = await readFile(path, "utf8");
    assertFits(path, JSON.parse(text) as Record<string, unknown>, config, vocabSize);
    return text;
  } catch (cause) {
    if (cause instanceof RingtuneError) throw cause;
    throw new RingtuneError("checkpoint_invalid", `cannot read the model's ${path}: ${describeError(cause)}`, {
      cause,
    });
  }
}

function assertFits(path: string, model: Record<string, unknown>, config: Config, vocabSize: number): void {
  const { n_positions: positions, vocab_size: vocabulary } = model;
  const length = config.train.sequence_length;
  if (typeof positions === "number" && length > positions) {
    throw new RingtuneError(
      "config_invalid",
      `train.sequence_length: ${length} tokens, but the model of ${path} has ${positions} positions`,
    );
  }
  if (typeof vocabulary === "number" && vocabSize > vocabulary) {
    throw new RingtuneError(
      "tokenizer_invalid",
      `the tokenizer has ${vocabSize} tokens, but the model of ${path} embeds ${vocabulary}; use the model's own tokenizer`,
    );
  }
}
