// A run from its configuration to its results: run directory, servers, data, workers, the driver, and the end of all of
// them. What `ringtune train` and `ringtune coordinator` have in common, which is everything but who starts the workers.
// What is quickly checked comes before what takes long, and nothing of an earlier run changes before the first record.

import { describeDropout, withDropout } from "../common/config/dropout.ts";
import { assertResumable } from "../common/config/resume.ts";
import type { Config } from "../common/config/schema.ts";
import { resolveModelConfig } from "../common/config/sizes.ts";
import { describeError } from "../common/errors.ts";
import type { RunRecord, ValidationRecord } from "../common/records.ts";
import { totalSteps, type Job } from "./core/job.ts";
import { isEstablished, isOver } from "./core/durable.ts";
import type { End } from "./core/state.ts";
import { createJob } from "./create-job.ts";
import { openCrew } from "./crew.ts";
import { prepareData, type PrepareOptions } from "./data/prepare.ts";
import { firstState, readPort, writePort } from "./durable/kept-run.ts";
import type { Facts } from "./durable/store.ts";
import { assertSameData, readData, readEarlierModel, readTokenizer, withWayOut } from "./earlier-run.ts";
import { assertFits, completeModelConfig } from "./model-config.ts";
import { nameSamples } from "./name-samples.ts";
import { openRun } from "./open-run.ts";
import type { HostsRequest } from "./launch/hosts.ts";
import type { Progress } from "./progress.ts";
import { now, type HandedOver } from "./rpc/driver.ts";
import { openServers } from "./servers.ts";
import { obtainSources } from "./sources.ts";
import { freeBytes } from "./store/disk-space.ts";
import type { RunDirectory } from "./store/run-directory.ts";
import { train } from "./training.ts";

export interface RunOptions {
  readonly config: Config;
  /** A run directory to go on with. */
  readonly resume?: string;
  /** Start the workers, which end with this process; otherwise wait for workers that are started by hand. */
  readonly launch: boolean;
  /** Start them on these hosts instead of this one. */
  readonly hosts?: HostsRequest;
  /** A token that lets workers in beside those that the coordinator draws. */
  readonly joinToken?: string;
  readonly progress: Progress;
  /** Aborting saves what is committed and ends the run. */
  readonly signal: AbortSignal;
}

export interface RunResult {
  /** elsewhere: another coordinator has led the run to its end. */
  readonly outcome: End | HandedOver | { readonly kind: "elsewhere"; readonly step: number };
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
  const { store } = given.cluster;
  // Code that most runs do not need is loaded by those that do: a coordinator that is started again is waited for.
  const several =
    store.kind === "etcd" ? await (await import("./stand-by.ts")).amongSeveral(options, store, onClose) : undefined;
  const { directory, kept, resumed } = await openRun(options, onClose, several?.elected);
  const earlier = directory.checkpoint;
  const ended = kept?.facts !== undefined && isOver(kept.facts);
  if (ended && several?.elected.waited) return endedElsewhere(directory, kept.facts, given);
  const inPlace = kept?.facts !== undefined && !ended;
  if (resumed) {
    assertResumable(directory.config, given, directory.path, inPlace);
    directory.goOnWith(given);
  }
  // As soon as possible: workers that look for their coordinator are kept on the line.
  const port = inPlace && given.cluster.port === 0 ? await readPort(directory.path) : undefined;
  const listening = { ...given, cluster: { ...given.cluster, port: port ?? given.cluster.port } };
  const servers = several?.servers ?? (await openServers(listening, progress, onClose));
  if (kept !== undefined && several === undefined) await writePort(directory.path, servers.sessions.port);

  const { config, onHub } = await obtainSources(given, { resumed: earlier !== undefined, progress, signal });
  const model = await readEarlierModel(config, directory);
  if (model !== undefined) assertFits(model, { sequenceLength: config.train.sequence_length });
  if (earlier === undefined) model?.notices.forEach((line) => progress.notice(line));
  const crew = await openCrew({ ...options, config }, directory.path, onClose);
  const prepareOptions: PrepareOptions = {
    onNotice: (line) => progress.notice(line),
    onProgress: (state) => progress.data(state),
    signal,
    tokenizer: resumed ? await readTokenizer(directory) : undefined,
    model,
  };
  const made = inPlace ? (await readData(directory)).origin : undefined;
  const data =
    (await several?.ahead?.take(config, prepareOptions)) ?? (await prepareData(config, { ...prepareOptions, made }));
  const { tokenizer, task } = data;
  const { vocabSize } = tokenizer;
  if (model !== undefined) assertFits(model, { sequenceLength: config.train.sequence_length, vocabSize });
  const completed = model ? completeModelConfig(model, task) : resolveModelConfig(config, tokenizer, task);
  const { dropout } = config.train;
  const modelConfig = dropout === undefined ? completed : withDropout(completed, dropout);
  const dropped = describeDropout(modelConfig);
  if (dropped !== "") progress.notice(`dropout in training: ${dropped}`);
  if (!resumed) await directory.writeTokenizer(data.tokenizer.json, data.tokenizerConfigJson);
  await assertSameData(directory, data, resumed);
  const createJobNow = (isKept = false): Promise<Job> =>
    createJob(config, directory, data, crew.workers, kept !== undefined, isKept);
  const job = await createJobNow(inPlace && isEstablished(kept.facts));
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
  const { elected } = several ?? {};
  const trained = await train(
    options,
    {
      config,
      directory,
      data,
      modelConfigJson,
      createJob: () => createJobNow(),
      servers,
      crew,
      onHub,
      kept,
      elected,
    },
    { job, state },
    onClose,
  );
  const { outcome: end, ...rest } = trained;
  // Another coordinator writes the run.
  if (end.kind === "handed-over" || (end.kind === "failed" && end.code === "superseded")) {
    return { ...trained, directory: directory.path, task: task.kind, validations: [] };
  }
  const outcome = await nameSamples(end, config, data, () => prepareData(config, prepareOptions));
  const records = await directory.readRecords();
  if (directory.changed) await writeCurve(directory, records, progress);
  const validations = records.filter((record) => record.kind === "validation");
  const result = { ...rest, outcome, directory: directory.path, task: task.kind, validations };
  // A checkpoint that a worker found damaged: the coordinator knows which other there is.
  if (outcome.kind !== "failed" || outcome.code !== "checkpoint_invalid" || earlier === undefined) return result;
  return { ...result, outcome: { ...outcome, reason: await withWayOut(outcome.reason, earlier, directory) } };
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
    const { renderCurve } = await import("./curve.ts");
    await directory.writeCurve(renderCurve(records));
  } catch (error) {
    progress.notice(`no curve: ${describeError(error)}`);
  }
}
