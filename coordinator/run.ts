// A run from its configuration to its results: run directory, servers, data, workers, the driver, and the end of all of
// them. What `ringtune train` and `ringtune coordinator` have in common, which is everything but who starts the workers.
// What is quickly checked comes before what takes long, and nothing of an earlier run changes before the first record.

import { readFile, realpath } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { writeFileAtomic } from "../common/atomic-file.ts";
import { readCredentials, type Credentials } from "../common/certificates.ts";
import { describeDropout, withDropout } from "../common/config/dropout.ts";
import { assertResumable } from "../common/config/resume.ts";
import type { Config } from "../common/config/schema.ts";
import { resolveModelConfig } from "../common/config/sizes.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import type { RunRecord, ValidationRecord } from "../common/records.ts";
import { isEveryAddress } from "../common/loopback.ts";
import { headOf } from "../common/task.ts";
import { serveSessions, type SessionServer } from "../proto/session.ts";
import { createJob } from "./create-job.ts";
import { totalSteps, type Job } from "./core/job.ts";
import type { Outcome, State } from "./core/state.ts";
import { renderCurve } from "./curve.ts";
import type { TokenizerFiles } from "./data/obtain-tokenizer.ts";
import { prepareData, type PreparedData } from "./data/prepare.ts";
import { createSampler, evenlySpaced } from "./data/sampler.ts";
import { planDevices, type DevicePlan } from "./devices.ts";
import { addressToCall, exposureOf, guardOf } from "./exposure.ts";
import { launchWorkers, type Launched } from "./launcher.ts";
import { describeOutcome, isStepAsUsual, placeIn } from "./log/core-lines.ts";
import { openRunLog } from "./log/run-log.ts";
import { createMetrics, serveMetrics, type Metrics } from "./metrics.ts";
import { assertFits, completeModelConfig, readModelConfig, type ModelConfig } from "./model-config.ts";
import type { Progress } from "./progress.ts";
import { openAdmin } from "./rpc/admin.ts";
import { createAdmission } from "./rpc/admission.ts";
import { createBatches } from "./rpc/batches.ts";
import { createDriver, type Driver } from "./rpc/driver.ts";
import { obtainSources, type Sources } from "./sources.ts";
import { wayOut } from "./store/checkpoints.ts";
import { folderBytes, freeBytes } from "./store/disk-space.ts";
import { openJoinTokens } from "./store/join-tokens.ts";
import { createRunDirectory, openRunDirectory, type Checkpoint, type RunDirectory } from "./store/run-directory.ts";

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
  /** Step of the latest checkpoint, if there is one that this run wrote or went on from. */
  readonly checkpoint: number | undefined;
  /** What was learned. */
  readonly task: Config["task"]["kind"];
  /** In order; empty without validation. */
  readonly validations: readonly ValidationRecord[];
}

type Closer = () => Promise<unknown>;
type OnClose = (close: Closer) => void;

/** Batches that are planned and not yet committed, and the one before, which a reader may still hold. */
const BATCHES_HELD = 4;
/** Samples whose sources the sentence of a failure names. */
const SAMPLES_NAMED = 4;
/** A worker that was told to finish ends at once, unless it is in the middle of a microbatch. */
const WORKER_GRACE_MS = 10_000;

/** Throws what is wrong before the first step; what ends the run later is the outcome. */
export async function run(options: RunOptions): Promise<RunResult> {
  const closers: Closer[] = [];
  let result: RunResult;
  try {
    result = await runToEnd(options, (close) => closers.unshift(close));
  } catch (error) {
    await closeAll(closers).catch(() => undefined);
    throw error;
  }
  await closeAll(closers).catch((error: unknown) => {
    if (result.outcome.kind !== "failed") throw error;
  });
  return result;
}

async function runToEnd(options: RunOptions, onClose: OnClose): Promise<RunResult> {
  const { config: given, resume, progress, signal } = options;
  const directory = resume === undefined ? await createRunDirectory(given) : await openRunDirectory(resume);
  onClose(() => directory.discard());
  const earlier = directory.checkpoint;
  if (earlier !== undefined) {
    assertResumable(directory.config, given, directory.path);
    directory.goOnWith(given);
  }
  const { config, onHub } = await obtainSources(given, { resumed: earlier !== undefined, progress, signal });
  const model = await readEarlierModel(config, directory);
  if (model !== undefined) assertFits(model, { sequenceLength: config.train.sequence_length });
  if (earlier === undefined) model?.notices.forEach((line) => progress.notice(line));
  const servers = await openServers(config, progress, onClose);

  const data = await prepareData(config, {
    onNotice: (line) => progress.notice(line),
    onProgress: (state) => progress.data(state),
    signal,
    tokenizer: earlier && (await readTokenizer(directory)),
    model,
  });
  const { tokenizer, task } = data;
  const { vocabSize } = tokenizer;
  if (model !== undefined) assertFits(model, { sequenceLength: config.train.sequence_length, vocabSize });
  const completed = model ? completeModelConfig(model, task) : resolveModelConfig(config, tokenizer, task);
  const { dropout } = config.train;
  const modelConfig = dropout === undefined ? completed : withDropout(completed, dropout);
  const dropped = describeDropout(modelConfig);
  if (dropped !== "") progress.notice(`dropout in training: ${dropped}`);
  if (earlier === undefined) await directory.writeTokenizer(data.tokenizer.json, data.tokenizerConfigJson);
  await assertSameData(directory, data.summary.digest);
  const devices = await planDevices(config, options.launch);
  devices.notices.forEach((notice) => progress.notice(notice));
  const job = await createJob(config, directory, data, devices.workers);
  progress.setTotalSteps(totalSteps(job));
  servers.metrics.begin({
    run: directory.name,
    steps: totalSteps(job),
    workers: job.workers,
    freeBytes: () => freeBytes(directory.path),
  });
  if (earlier !== undefined) servers.metrics.observeCheckpoint(earlier.step);

  const modelConfigJson = JSON.stringify(modelConfig, null, 2);
  const ended = await train(
    { ...options, config },
    { directory, data, modelConfigJson, job, servers, devices, onHub },
    onClose,
  );
  const outcome = withSources(ended.outcome, config, data);
  const records = await directory.readRecords();
  if (directory.changed) await writeCurve(directory, records, progress);
  const validations = records.filter((record) => record.kind === "validation");
  const result = { ...ended, outcome, directory: directory.path, task: task.kind, validations };
  // A checkpoint that a worker found damaged: the coordinator knows which other there is.
  if (outcome.kind !== "failed" || outcome.code !== "checkpoint_invalid" || earlier === undefined) return result;
  return { ...result, outcome: { ...outcome, reason: await withWayOut(outcome.reason, earlier, directory) } };
}

interface Prepared {
  readonly directory: RunDirectory;
  readonly data: PreparedData;
  /** Hugging Face config.json. */
  readonly modelConfigJson: string;
  readonly job: Job;
  readonly onHub: Sources["onHub"];
  readonly servers: Servers;
  readonly devices: DevicePlan;
}

async function train(
  options: RunOptions,
  prepared: Prepared,
  onClose: OnClose,
): Promise<Pick<RunResult, "outcome" | "checkpoint">> {
  const { config, progress, signal } = options;
  const { directory, data, modelConfigJson, job, servers, devices } = prepared;
  const { metrics, sessions, credentials } = servers;
  const { certs, insecure, join_token_ttl_s: ttlSeconds } = config.cluster;
  const tokens = await openJoinTokens({ file: (name) => directory.file(name), ttlSeconds });
  onClose(() => tokens.discard());
  const extra = [...(certs === undefined ? [] : ["--certs", certs]), ...(insecure ? ["--insecure"] : [])];
  const called = addressToCall(config.cluster.host, sessions.port);
  const commandOfWorker = ["ringtune worker --coordinator", called, "--token-file", tokens.file, ...extra].join(" ");
  const sampler = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const validationRows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  let checkpoint = directory.checkpoint?.step;
  let launched: Launched | undefined;
  /** What has been said about the engines of the workers: once is enough. */
  const engines = new Set<string>();
  const log = openRunLog({ job: job.id, pathOf: (name) => directory.file(name) });
  onClose(() => log.close());
  const driver = createDriver({
    job,
    admission: createAdmission({ tokens, run: directory.path, encrypted: certs !== undefined && !insecure }),
    welcome: {
      jobId: job.id,
      heartbeatSeconds: config.cluster.heartbeat_s,
      engine: config.cluster.engine,
      device: config.cluster.device,
      threads: config.cluster.threads === "auto" ? 0 : config.cluster.threads,
      modelConfigJson,
      tokenizerJson: data.tokenizer.json,
      tokenizerConfigJson: data.tokenizerConfigJson,
      optimizerJson: JSON.stringify(config.train.optimizer),
      seed: config.train.seed,
      trainingJson: trainingSettings(config, prepared.onHub),
      baseModelPath: await baseModelPath(config),
      taskJson: JSON.stringify(data.task),
    },
    training: createBatches(data.train, (position) => sampler.sampleAt(position).index, BATCHES_HELD),
    validation: createBatches(data.validation ?? data.train, (row) => validationRows[row] ?? 0, 1),
    checkpointPath: (step) => directory.checkpointPath(step),
    async record(record) {
      if (record.kind === "step") metrics.observeStep(record);
      else metrics.observeValidation(record);
      progress.record(record);
      await directory.append(record);
    },
    async publish(step, best) {
      const { path } = await directory.publish(step, best);
      checkpoint = step;
      metrics.observeCheckpoint(step, await folderBytes(path));
      progress.checkpoint(step, path);
    },
    wanted: (workers) => metrics.setWorldSizeTarget(workers),
    generation(generation, worldSize) {
      metrics.setGeneration(generation);
      metrics.setWorldSize(worldSize);
    },
    engine(description, why) {
      const line = `computing on ${description}${why.length === 0 ? "" : ` (${why.join("; ")})`}`;
      if (!engines.has(line)) progress.notice(line);
      engines.add(line);
    },
    noticed(sentence) {
      progress.notice(sentence);
      log.write(sentence);
    },
    observe(event) {
      metrics.observeSession(event);
      log.observe(event);
    },
    decided(reason) {
      progress.decided(reason);
      if (!isStepAsUsual(reason)) log.write(reason);
    },
    launch(count) {
      if (launched !== undefined) return launched.add(count);
      progress.notice(`start ${count} worker${count === 1 ? "" : "s"} more, each on a terminal of its own:`);
      progress.notice(`  ${commandOfWorker}`);
    },
    lastWords: async (id) => launched?.lastWords(id),
  });
  log.locate(() => placeIn(driver.state));
  servers.begin(driver);
  onClose(await openAdmin({ directory, driver, job, tokens, joinCommand: commandOfWorker, credentials }));
  if (options.launch) {
    const workers = launchWorkers({
      count: job.workers,
      coordinator: isEveryAddress(config.cluster.host) ? `127.0.0.1:${sessions.port}` : sessions.address,
      joinToken: tokens.issueOwn(),
      arguments: extra,
      environment: devices.environment,
      restarts: config.cluster.restarts,
      isTraining: () => driver.state.established && driver.state.phase !== "ended",
      needs: (id) => needsWorker(driver.state, id),
      onNotice: (sentence) => progress.notice(sentence),
      onFailure: (reason) => driver.post({ kind: "launch-failed", reason }),
    });
    launched = workers;
    onClose(() => workers.close(WORKER_GRACE_MS));
  } else {
    progress.notice(`waiting for ${job.workers} workers at ${called}; start each on a terminal of its own:`);
    progress.notice(`  ${commandOfWorker}`);
  }
  const stop = (): void => driver.post({ kind: "stop", reason: describeError(signal.reason) });
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const outcome = await driver.outcome;
  signal.removeEventListener("abort", stop);
  log.write(describeOutcome(outcome), { level: outcome.kind === "failed" ? "error" : "info" });
  return { outcome, checkpoint };
}

/** The stream of worker `id`, whose process has ended, may not have closed yet. */
function needsWorker({ phase, stopping, enough, members, joining, wanted }: State, id: string): boolean {
  const others = [...members, ...joining].filter((member) => member.id !== id);
  return phase !== "ended" && stopping === null && enough === null && others.length < wanted;
}

interface Servers {
  readonly metrics: Metrics;
  readonly sessions: SessionServer;
  /** Of cluster.certs. */
  readonly credentials: Credentials | undefined;
  /** Workers are welcome from here on. */
  begin(driver: Driver): void;
}

/** Before the data is prepared, so that a busy port is known at once. */
async function openServers(config: Config, progress: Progress, onClose: OnClose): Promise<Servers> {
  const metrics = createMetrics();
  let driver: Driver | undefined;
  if (config.metrics.enabled) {
    const isReady = (): boolean => driver !== undefined;
    const { host, port } = config.metrics;
    const server = await serveMetrics({ host, port, metrics, isReady, ...(await guardOf(config.metrics)) });
    onClose(() => server.close());
    progress.notice(`metrics at ${server.url}`);
  }
  const { certs, host } = config.cluster;
  exposureOf(config).forEach((line) => progress.notice(line));
  const credentials = certs === undefined ? undefined : await readCredentials(certs, "coordinator");
  const early = new RingtuneError("unavailable", "the coordinator still prepares its data and takes no workers yet");
  const sessions = await serveSessions({
    host,
    port: config.cluster.port,
    ...(credentials === undefined ? {} : { credentials }),
    accept: (session) => driver?.accept(session) ?? { message: () => session.reject(early), closed: () => undefined },
  });
  onClose(() => sessions.close());
  return { metrics, sessions, credentials, begin: (ready) => (driver = ready) };
}

/** In reverse order of opening, all of them; throws the first failure. */
async function closeAll(closers: readonly Closer[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers) await close().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** A picture is no reason to fail: the records that it shows are on disk. */
async function writeCurve(directory: RunDirectory, records: readonly RunRecord[], progress: Progress): Promise<void> {
  try {
    await directory.writeCurve(renderCurve(records));
  } catch (error) {
    progress.notice(`no curve: ${describeError(error)}`);
  }
}

/** Names the samples that a failure is about: the core knows their places only. */
function withSources(outcome: Outcome, config: Config, data: PreparedData): Outcome {
  if (outcome.kind !== "failed" || outcome.samples === undefined) return outcome;
  const { part, positions } = outcome.samples;
  const sampler = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const rows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  const named = positions.slice(0, SAMPLES_NAMED).flatMap((position) => {
    const dataset = part === "training" ? data.train : data.validation;
    const source = dataset?.sourceOf?.(part === "training" ? sampler.sampleAt(position).index : (rows[position] ?? 0));
    return source === undefined ? [] : `${part === "training" ? "" : "validation "}sample ${position}: ${source}`;
  });
  if (named.length === 0) return outcome;
  const more = positions.length > named.length ? ` and ${positions.length - named.length} more` : "";
  return { ...outcome, reason: `${outcome.reason} (${named.join("; ")}${more})` };
}

async function withWayOut(sentence: string, damaged: Checkpoint, directory: RunDirectory): Promise<string> {
  return `${sentence}; ${await wayOut(directory.path, basename(damaged.path))}`;
}

/** Without links, because a `latest` moves on; PEFT finds the model by it later. */
async function baseModelPath({ lora, model }: Config): Promise<string> {
  if (lora === undefined || model.from === undefined) return "";
  return realpath(model.from).catch(() => resolve(model.from ?? ""));
}

/** What workers have to know of what is trained and how, in the configuration's own words. */
function trainingSettings({ lora, train }: Config, onHub: Sources["onHub"]): string {
  const { freeze, label_smoothing, recompute, precision, bit_identical } = train;
  return JSON.stringify({ lora, freeze, label_smoothing, recompute, precision, bit_identical, onHub });
}

/** Undefined when the model begins with this run. */
async function readEarlierModel(config: Config, directory: RunDirectory): Promise<ModelConfig | undefined> {
  const { checkpoint } = directory;
  const head = headOf(config.task.kind);
  if (checkpoint === undefined) {
    return config.model.from === undefined ? undefined : readModelConfig(config.model.from, "model", head);
  }
  return readModelConfig(checkpoint.path, "checkpoint", head).catch(async (cause: unknown) => {
    const sentence = await withWayOut(describeError(cause), checkpoint, directory);
    throw new RingtuneError("checkpoint_invalid", sentence, { cause });
  });
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
  const saved = await readFile(path, "utf8").catch((error: unknown) => describeError(error));
  const before = /^\{"digest":"([0-9a-f]{64})"\}\n$/.exec(saved)?.[1];
  if (before === undefined) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} does not say which data the run was made of (${JSON.stringify(saved.slice(0, 80))}); it was damaged or removed, train into a new run`,
    );
  }
  if (before === digest) return;
  throw new RingtuneError(
    "data_invalid",
    `the data has changed since the run ${directory.path} began: its tokens have digest ${digest} now, ${before} then; put the old data back, or train into a new run`,
  );
}
