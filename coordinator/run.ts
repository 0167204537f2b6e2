// A run from its configuration to its results: run directory, servers, data, workers, the driver, and the end of all of
// them. What `ringtune train` and `ringtune coordinator` have in common, which is everything but who starts the workers.
// What is quickly checked comes before what takes long, and nothing of an earlier run changes before the first record.

import { readFile, realpath, rm } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { writeFileAtomic } from "../common/atomic-file.ts";
import { describeDropout, withDropout } from "../common/config/dropout.ts";
import { assertResumable } from "../common/config/resume.ts";
import type { Config } from "../common/config/schema.ts";
import { resolveModelConfig } from "../common/config/sizes.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import type { RunRecord, ValidationRecord } from "../common/records.ts";
import { isEveryAddress } from "../common/loopback.ts";
import { headOf } from "../common/task.ts";
import { createJob } from "./create-job.ts";
import { openRun } from "./open-run.ts";
import { openServers, preparing, type Servers } from "./servers.ts";
import { standBy, type Elected } from "./stand-by.ts";
import { totalSteps, type Job } from "./core/job.ts";
import { initialState } from "./core/coordinator.ts";
import { isOver } from "./core/durable.ts";
import type { Facts } from "./durable/store.ts";
import type { End, State } from "./core/state.ts";
import { renderCurve } from "./curve.ts";
import type { TokenizerFiles } from "./data/obtain-tokenizer.ts";
import { prepareData, type PreparedData } from "./data/prepare.ts";
import { createSampler, evenlySpaced } from "./data/sampler.ts";
import { planDevices, type DevicePlan } from "./devices.ts";
import { firstState, readPort, storeFolder, writePort, type Kept } from "./durable/kept-run.ts";
import { addressToCall } from "./exposure.ts";
import { launchWorkers, type Launched } from "./launcher.ts";
import { describeOutcome, isStepAsUsual, placeIn } from "./log/core-lines.ts";
import { openRunLog } from "./log/run-log.ts";
import { assertFits, completeModelConfig, readModelConfig, type ModelConfig } from "./model-config.ts";
import type { Place } from "../common/log-line.ts";
import type { Progress } from "./progress.ts";
import { openAdmin } from "./rpc/admin.ts";
import { createAdmission } from "./rpc/admission.ts";
import { createBatches } from "./rpc/batches.ts";
import { createDriver, now, type DriverHost } from "./rpc/driver.ts";
import { obtainSources, type Sources } from "./sources.ts";
import { wayOut } from "./store/checkpoints.ts";
import { folderBytes, freeBytes } from "./store/disk-space.ts";
import { createTimeline } from "./trace/timeline.ts";
import { openJoinTokens } from "./store/join-tokens.ts";
import { runPath, type Checkpoint, type RunDirectory } from "./store/run-directory.ts";

export interface RunOptions {
  readonly config: Config;
  /** A run directory to go on with. */
  readonly resume?: string;
  /** Start the workers on this host; otherwise wait for workers that are started by hand. */
  readonly launch: boolean;
  /** A token that lets workers in beside those that the coordinator draws. */
  readonly joinToken?: string;
  readonly progress: Progress;
  /** Aborting saves what is committed and ends the run. */
  readonly signal: AbortSignal;
}

export interface RunResult {
  /** elsewhere: another coordinator has led the run to its end. */
  readonly outcome: End | { readonly kind: "elsewhere"; readonly step: number };
  readonly directory: string;
  /** Step of the latest checkpoint, if there is one that this run wrote or went on from. */
  readonly checkpoint: number | undefined;
  /** What was learned. */
  readonly task: Config["task"]["kind"];
  /** In order; empty without validation. */
  readonly validations: readonly ValidationRecord[];
}

export type Closer = () => Promise<unknown>;
export type OnClose = (close: Closer) => void;

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
  const { config: given, progress, signal } = options;
  const several = await amongSeveral(options, onClose);
  const { directory, kept, resumed } = await openRun(options, onClose, several?.elected);
  const earlier = directory.checkpoint;
  const ended = kept?.facts !== undefined && isOver(kept.facts);
  if (ended && several?.elected.waited) return endedElsewhere(directory, kept.facts, given);
  const inPlace = kept?.facts !== undefined && !ended;
  if (resumed) {
    assertResumable(directory.config, given, directory.path, inPlace);
    directory.goOnWith(given);
  }
  const { config, onHub } = await obtainSources(given, { resumed: earlier !== undefined, progress, signal });
  const model = await readEarlierModel(config, directory);
  if (model !== undefined) assertFits(model, { sequenceLength: config.train.sequence_length });
  if (earlier === undefined) model?.notices.forEach((line) => progress.notice(line));
  const port = inPlace && config.cluster.port === 0 ? await readPort(directory.path) : undefined;
  const servers =
    several?.servers ??
    (await openServers(
      { ...config, cluster: { ...config.cluster, port: port ?? config.cluster.port } },
      progress,
      onClose,
    ));
  if (kept !== undefined && several === undefined) await writePort(directory.path, servers.sessions.port);

  const data = await prepareData(config, {
    onNotice: (line) => progress.notice(line),
    onProgress: (state) => progress.data(state),
    signal,
    tokenizer: resumed ? await readTokenizer(directory) : undefined,
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
  if (!resumed) await directory.writeTokenizer(data.tokenizer.json, data.tokenizerConfigJson);
  await assertSameData(directory, data.summary.digest, resumed);
  const devices = await planDevices(config, options.launch);
  devices.notices.forEach((notice) => progress.notice(notice));
  const createJobNow = (): Promise<Job> => createJob(config, directory, data, devices.workers, kept !== undefined);
  const job = await createJobNow();
  const state = firstState(job, kept?.facts, directory.path, now());
  progress.setTotalSteps(totalSteps(job));
  servers.metrics.begin({
    run: directory.name,
    steps: totalSteps(job),
    workers: job.workers,
    freeBytes: () => freeBytes(directory.path),
  });
  if (earlier !== undefined) servers.metrics.observeCheckpoint(earlier.step);

  const modelConfigJson = JSON.stringify(modelConfig, null, 2);
  const elected = several?.elected;
  const trained = await train(
    { ...options, config },
    { directory, data, modelConfigJson, createJob: createJobNow, servers, devices, onHub, kept, inPlace, elected },
    { job, state },
    onClose,
  );
  const outcome = withSources(trained.outcome, config, data);
  if (outcome.kind === "failed" && outcome.code === "superseded") {
    return { ...trained, outcome, directory: directory.path, task: task.kind, validations: [] };
  }
  const records = await directory.readRecords();
  if (directory.changed) await writeCurve(directory, records, progress);
  const validations = records.filter((record) => record.kind === "validation");
  const result = { ...trained, outcome, directory: directory.path, task: task.kind, validations };
  // A checkpoint that a worker found damaged: the coordinator knows which other there is.
  if (outcome.kind !== "failed" || outcome.code !== "checkpoint_invalid" || earlier === undefined) return result;
  return { ...result, outcome: { ...outcome, reason: await withWayOut(outcome.reason, earlier, directory) } };
}

interface Prepared {
  readonly directory: RunDirectory;
  readonly data: PreparedData;
  /** Hugging Face config.json. */
  readonly modelConfigJson: string;
  /** From what is in the run directory now. */
  readonly createJob: () => Promise<Job>;
  readonly onHub: Sources["onHub"];
  readonly servers: Servers;
  readonly devices: DevicePlan;
  readonly kept: Kept | undefined;
  /** Its workers may still be there. */
  readonly inPlace: boolean;
  /** One of several coordinators. */
  readonly elected: Elected | undefined;
}

async function train(
  options: RunOptions,
  prepared: Prepared,
  first: Beginning,
  onClose: OnClose,
): Promise<{ readonly outcome: End; readonly checkpoint: number | undefined }> {
  const { config, progress, signal } = options;
  const { directory, data, modelConfigJson, servers, devices, kept, elected } = prepared;
  const { metrics, sessions, credentials } = servers;
  const { certs, insecure, join_token_ttl_s: ttlSeconds } = config.cluster;
  // What is there is of a run that went on another way.
  if (options.launch) await rm(storeFolder(directory.path), { recursive: true, force: true });
  const tokens = await openJoinTokens({ file: (name) => directory.file(name), ttlSeconds });
  if (options.joinToken !== undefined) tokens.accept(options.joinToken);
  const extra = [...(certs === undefined ? [] : ["--certs", certs]), ...(insecure ? ["--insecure"] : [])];
  const called = (await elected?.addresses())?.join(",") ?? addressToCall(config.cluster.host, sessions.port);
  const commandOfWorker = ["ringtune worker --coordinator", called, "--token-file", tokens.file, ...extra].join(" ");
  const sampler = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const validationRows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  let checkpoint = directory.checkpoint?.step;
  let launched: Launched | undefined;
  /** What has been said about the engines of the workers: once is enough. */
  const engines = new Set<string>();
  const timeline = createTimeline(now);
  const log = openRunLog({
    job: directory.name,
    pathOf: (name) => directory.file(name),
    ...(elected === undefined ? {} : { permit: () => elected.permit() }),
  });
  onClose(() => log.close());
  const host: Omit<DriverHost, keyof Beginning> = {
    durable: kept?.store,
    ...(elected === undefined ? {} : { lost: elected.lost }),
    admission: createAdmission({ tokens, run: directory.path, encrypted: certs !== undefined && !insecure }),
    welcome: {
      jobId: directory.name,
      recoverSeconds: config.cluster.recover_s,
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
    partsPath: (step, attempt) => directory.partsPath(step, attempt),
    async record(record) {
      if (record.kind === "step") metrics.observeStep(record);
      else metrics.observeValidation(record);
      progress.record(record);
      await directory.append(record);
    },
    syncRecords: () => directory.syncRecords(),
    async publish({ step, attempt, best, ...parts }) {
      await directory.join(step, attempt, parts);
      const { path } = await directory.publish(step, best);
      checkpoint = step;
      metrics.observeCheckpoint(step, await folderBytes(path));
      progress.checkpoint(step, path);
    },
    async discard({ step, attempt, failure }) {
      await directory.discardParts(step, attempt).catch(() => undefined);
      if (failure === undefined) return;
      metrics.observeUnsaved();
      const free = await freeBytes(directory.path).catch(() => undefined);
      const there = free === undefined ? "how much is free can't be seen" : `${inWords(free)} are free`;
      progress.notice(`a checkpoint takes ${inWords(failure.neededBytes)}, and ${there} at ${directory.path}`);
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
    timeline,
    observe(event) {
      metrics.observeSession(event);
      log.observe(event);
      if (event.kind === "said") timeline.said(event.id, event.message);
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
  };
  let driver = createDriver({ ...host, ...first });
  const begin = async ({ job }: Beginning): Promise<Closer> => {
    servers.begin(driver);
    metrics.observePaces(() => driver.state.members.map(({ id, pace }) => [id, pace] as const));
    return openAdmin({ directory, driver, job, timeline, tokens, joinCommand: commandOfWorker, credentials });
  };
  const here = (): Place => placeIn(driver.state);
  log.locate(here);
  progress.locate(first.job.id, here);
  let waiting = 0;
  directory.whenWaiting((records, why) => {
    metrics.setRecordsWaiting(records);
    if (waiting === 0 && records > 0)
      progress.notice(`${why}; records wait in memory until it is possible, training goes on`);
    if (waiting > 0 && records === 0) progress.notice(`metrics.jsonl has all records again, ${waiting} had waited`);
    waiting = records;
  });
  let closeAdmin = await begin(first);
  onClose(() => closeAdmin());
  // Workers may still look for the coordinator of a run that is not over.
  onClose(async () => {
    await elected?.permit();
    if (driver.state.over) await tokens.discard();
  });
  const { workers: count } = first.job;
  if (options.launch) {
    const workers = launchWorkers({
      count,
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
  } else if (first.state.phase === "recovering") {
    const { committed, recovery } = first.state;
    const who = recovery?.order.join(", ");
    progress.notice(
      `going on after step ${committed}: waiting at ${called} for ${who} to come back, up to ${config.cluster.recover_s} s`,
    );
  } else {
    progress.notice(`waiting for ${count} workers at ${called}; start each on a terminal of its own:`);
    progress.notice(`  ${commandOfWorker}`);
  }
  const stop = (): void => driver.post({ kind: "stop", reason: describeError(signal.reason) });
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  let outcome = await driver.outcome;
  while (outcome.kind === "forsaken") {
    await closeAdmin();
    await directory.rewind();
    const job = await prepared.createJob();
    const from = job.start.step === 0 ? "its beginning" : `the checkpoint of step ${job.start.step}`;
    progress.notice(`${outcome.reason}; the run goes on from ${from}, with ${count} workers that are started now:`);
    progress.notice(`  ${commandOfWorker}`);
    const again = { job, state: initialState(job, now(), outcome.generation) };
    driver = createDriver({ ...host, ...again });
    closeAdmin = await begin(again);
    outcome = await driver.outcome;
  }
  signal.removeEventListener("abort", stop);
  log.write(describeOutcome(outcome), { level: outcome.kind === "failed" ? "error" : "info" });
  return { outcome, checkpoint };
}

/** The stream of worker `id`, whose process has ended, may not have closed yet. */
function needsWorker({ phase, stopping, enough, members, joining, wanted }: State, id: string): boolean {
  const others = [...members, ...joining].filter((member) => member.id !== id);
  return phase !== "ended" && stopping === null && enough === null && others.length < wanted;
}

/** Where the core begins. */
interface Beginning {
  readonly job: Job;
  readonly state: State;
}

interface Several {
  readonly elected: Elected;
  readonly servers: Servers;
}

/** Stands by until this coordinator leads; undefined when it is the only one. */
async function amongSeveral(
  { config, launch, progress, signal }: RunOptions,
  onClose: OnClose,
): Promise<Several | undefined> {
  const { store } = config.cluster;
  if (store.kind !== "etcd") return undefined;
  if (launch) {
    const sentence =
      "cluster.store.kind etcd is for several coordinators, and the workers of ringtune train end with theirs; use ringtune coordinator and ringtune worker, or --set cluster.store.kind=embedded";
    throw new RingtuneError("usage", sentence);
  }
  const servers = await openServers(config, progress, onClose);
  const elected = await standBy({
    settings: store,
    name: basename(runPath(config)),
    host: config.cluster.host,
    address: addressToCall(config.cluster.host, servers.sessions.port),
    notice: (line) => progress.notice(line),
    refuse: (error) => servers.refuse(error),
    onClose,
    signal,
  });
  servers.refuse(preparing);
  return { elected, servers };
}

function endedElsewhere(directory: RunDirectory, facts: Facts, config: Config): RunResult {
  const step = Number(facts["committed"]);
  const checkpoint = directory.checkpoint?.step;
  const { path } = directory;
  return { outcome: { kind: "elsewhere", step }, directory: path, checkpoint, task: config.task.kind, validations: [] };
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
function withSources(outcome: End, config: Config, data: PreparedData): End {
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

/** "1,048,576 bytes" */
function inWords(bytes: number): string {
  return `${bytes.toLocaleString("en-US")} bytes`;
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
async function assertSameData(directory: RunDirectory, digest: string, resumed: boolean): Promise<void> {
  const path = directory.file("data.json");
  if (!resumed) return writeFileAtomic(path, `${JSON.stringify({ digest })}\n`);
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
