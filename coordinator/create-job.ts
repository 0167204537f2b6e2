// The job of a run: what the core has to know of the configuration, the data and the checkpoint to go on from.

import type { Config } from "../common/config/schema.ts";
import { RingtuneError } from "../common/errors.ts";
import { scoringOf } from "../common/evaluation/scoring.ts";
import { enough, replay, type EarlyStopping } from "./core/early-stopping.ts";
import type { Job, Start } from "./core/job.ts";
import { warmupStepsOf } from "./core/schedule.ts";
import type { PreparedData } from "./data/prepare.ts";
import type { RunDirectory } from "./store/run-directory.ts";

/** Throws `config_invalid` when the run has done all its steps already, `checkpoint_invalid` when it can't go on exactly. */
export async function createJob(
  config: Config,
  directory: RunDirectory,
  data: Pick<PreparedData, "train" | "validation" | "task">,
  workers: number,
  /** They look for a coordinator that is gone, instead of ending with it. */
  lasting: boolean,
  /** The state of the run is kept, so that its records need not say how far it was. */
  isKept = false,
): Promise<Job> {
  const { train, cluster, checkpoint } = config;
  const samplesPerEpoch = data.train.sampleCount;
  const totalSamples =
    train.steps === undefined ? Math.ceil((train.epochs ?? 1) * samplesPerEpoch) : train.steps * train.global_batch;
  const steps = Math.ceil(totalSamples / train.global_batch);
  const start = await startOf(config, directory, isKept);
  if (start.step >= steps) {
    throw new RingtuneError(
      "config_invalid",
      `the run ${directory.path} has done ${start.step} steps and the configuration asks for ${steps}; raise train.steps to go on`,
    );
  }
  const earlyStopping = earlyStoppingOf(config);
  const validationSequences = Math.min(data.validation?.sampleCount ?? 0, train.eval_sequences);
  if (earlyStopping !== null && validationSequences === 0) {
    throw new RingtuneError(
      "config_invalid",
      "train.early_stopping needs validations, and the validation set has 0 sequences; raise data.validation_fraction",
    );
  }
  if (earlyStopping !== null && start.kind === "checkpoint") {
    const reason = enough(earlyStopping, replay(earlyStopping, start.validations));
    if (reason !== undefined) {
      throw new RingtuneError(
        "config_invalid",
        `the run ${directory.path} ended early, after step ${start.step}: ${reason}; raise train.early_stopping.patience to go on`,
      );
    }
  }
  const consumed = Math.min(start.step * train.global_batch, totalSamples);
  if (directory.checkpoint !== undefined && directory.checkpoint.position !== consumed) {
    const { path, position } = directory.checkpoint;
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} has consumed ${position} samples, but ${start.step} steps of ${train.global_batch} are ${consumed}; a run that ended within a batch can't be made longer, train into a new run`,
    );
  }
  return {
    id: directory.name,
    workers,
    minWorkers: cluster.min_workers === "all" ? workers : Math.min(cluster.min_workers, workers),
    globalBatch: train.global_batch,
    microbatch: train.microbatch,
    localSteps: train.local_steps,
    bitIdentical: train.bit_identical,
    balance: cluster.balance,
    sharesDevices: cluster.share_devices,
    totalSamples,
    samplesPerEpoch,
    validationSequences,
    evalEvery: train.eval_every,
    checkpointEvery: checkpoint.every,
    writers: checkpoint.writers,
    saveRetryMs: checkpoint.retry_s * 1000,
    schedule: {
      schedule: train.schedule,
      peak: train.learning_rate,
      min: train.min_learning_rate,
      warmupSteps: warmupStepsOf(train, steps),
      totalSteps: steps,
    },
    clip: train.clip,
    skipsOverflow: train.precision === "fp16",
    heartbeatMs: cluster.heartbeat_s * 1000,
    joinTimeoutMs: cluster.join_timeout_s * 1000,
    recoverMs: lasting ? cluster.recover_s * 1000 : 0,
    stepTimeoutMs: cluster.step_timeout_s * 1000 * train.local_steps,
    verifyEvery: cluster.verify_every,
    earlyStopping,
    scoring: scoringOf(data.task) ?? null,
    start,
  };
}

function earlyStoppingOf({ train: { early_stopping: section } }: Config): EarlyStopping | null {
  if (section === undefined) return null;
  return { metric: section.metric, patience: section.patience, minDelta: section.min_delta };
}

async function startOf(config: Config, directory: RunDirectory, isKept: boolean): Promise<Start> {
  if (directory.checkpoint !== undefined) {
    const { path, step } = directory.checkpoint;
    const records = isKept ? [] : await directory.readRecords();
    const validations = records.filter((record) => record.kind === "validation").filter((each) => each.step <= step);
    const last = records.findLast((record) => record.kind === "step" && record.step === step);
    const ledger = last?.kind === "step" ? last.ledger : undefined;
    return { kind: "checkpoint", step, path, validations, ...(ledger === undefined ? {} : { ledger }) };
  }
  if (config.model.from !== undefined) return { kind: "model", step: 0, path: config.model.from };
  return { kind: "seed", step: 0 };
}
