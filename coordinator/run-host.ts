// Where what happens in a run goes: records and checkpoints to the run directory, numbers to the metrics, sentences to the
// screen and the log, times to the timeline; and where its rows come from. The driver calls, nothing here decides.

import { createTimeline, type Timeline } from "./trace/timeline.ts";
import type { Config } from "../common/config/schema.ts";
import type { PreparedData } from "./data/prepare.ts";
import { createSampler, evenlySpaced } from "./data/sampler.ts";
import { isStepAsUsual } from "./log/core-lines.ts";
import { openRunLog, type RunLog } from "./log/run-log.ts";
import type { Metrics } from "./metrics.ts";
import type { Progress } from "./progress.ts";
import { createBatches } from "./rpc/batches.ts";
import { now, type DriverHost } from "./rpc/driver.ts";
import { folderBytes, freeBytes } from "./store/disk-space.ts";
import type { Permit, RunDirectory } from "./store/run-directory.ts";

/** Without what concerns who the workers are. */
type Outlets = Omit<
  DriverHost,
  "job" | "state" | "durable" | "lost" | "admission" | "welcome" | "launch" | "lastWords" | "timeline"
>;

export interface RunHost {
  readonly outlets: Outlets;
  readonly log: RunLog;
  readonly timeline: Timeline;
  /** Step of the newest checkpoint that this process went on from or wrote. */
  readonly checkpoint: number | undefined;
}

/** Batches that are planned and not yet committed, and the one before, which a reader may still hold. */
const BATCHES_HELD = 4;

export function createRunHost(options: {
  readonly config: Config;
  readonly directory: RunDirectory;
  readonly data: Pick<PreparedData, "train" | "validation">;
  readonly metrics: Metrics;
  readonly progress: Progress;
  /** Of one of several coordinators. */
  readonly permit: Permit | undefined;
}): RunHost {
  const { config, directory, data, metrics, progress, permit } = options;
  const sampler = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const validationRows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  let checkpoint = directory.checkpoint?.step;
  /** What has been said about the engines of the workers: once is enough. */
  const engines = new Set<string>();
  const timeline = createTimeline(now);
  const log = openRunLog({
    job: directory.name,
    pathOf: (name) => directory.file(name),
    ...(permit === undefined ? {} : { permit }),
  });
  const outlets: Outlets = {
    training: createBatches(data.train, (position) => sampler.sampleAt(position).index, BATCHES_HELD),
    validation: createBatches(data.validation ?? data.train, (row) => validationRows[row] ?? 0, 1),
    partsPath: (step, attempt) => directory.partsPath(step, attempt),
    async record(record) {
      // First: whoever has seen a step's line finds its record.
      await directory.append(record);
      if (record.kind === "step") metrics.observeStep(record);
      else metrics.observeValidation(record);
      progress.record(record);
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
    observe(event) {
      metrics.observeSession(event);
      log.observe(event);
      if (event.kind === "said") timeline.said(event.id, event.message);
    },
    decided(reason) {
      progress.decided(reason);
      if (!isStepAsUsual(reason)) log.write(reason);
    },
  };
  return {
    outlets,
    log,
    timeline,
    get checkpoint() {
      return checkpoint;
    },
  };
}

/** "1,048,576 bytes" */
function inWords(bytes: number): string {
  return `${bytes.toLocaleString("en-US")} bytes`;
}
