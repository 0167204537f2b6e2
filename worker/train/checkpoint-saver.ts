// A worker's side of saving: copies its part when its place in the program comes, lets a thread write it, and reports. One
// at a time: whoever comes for the next before the last is written waits for the disk, and says how long.

import { describeError, RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import { copyPart } from "./checkpoint-part.ts";
import { checkpointTexts, divideCheckpoint, type CheckpointTexts } from "./checkpoint-parts.ts";
import type { CheckpointFacts } from "./checkpoint-state.ts";
import type { PartWriter } from "./checkpoint-writer.ts";
import { aborted } from "./task-queue.ts";
import type { OptimizerState } from "./optimizer.ts";
import type { TrainedWeights } from "./trained-weights.ts";
import type { Report } from "./trainer.ts";

type Save = Extract<FromCoordinator, { kind: "save" }>["value"];

export interface Saver {
  /** Resolves when the part is copied. Rejects with the signal's reason when the generation ends before. */
  save(task: Save, contents: Contents, signal: AbortSignal): Promise<void>;
  /** Resolves when nothing is being written. */
  written(): Promise<void>;
  close(): Promise<void>;
}

export interface Contents {
  readonly optimizer: OptimizerState;
  readonly facts: Omit<CheckpointFacts, "format" | "step" | "position" | "optimizer">;
}

export function createSaver(
  weights: TrainedWeights,
  texts: CheckpointTexts,
  { report, writer }: { readonly report: Report; readonly writer: PartWriter },
): Saver {
  /** Never rejects. */
  let writing = Promise.resolve();
  let isWriting = false;

  async function write(task: Save, order: Parameters<PartWriter["write"]>[0], about: Said): Promise<void> {
    const { step, attempt } = task;
    const start = performance.now();
    isWriting = true;
    try {
      const files = [...(await writer.write(order))];
      const times = { ...about.times, writtenSeconds: (performance.now() - start) / 1000 };
      report.send({ kind: "saved", value: { step, attempt, files, factsJson: about.factsJson, times } });
    } catch (error) {
      if (!(error instanceof RingtuneError) || error.code !== "disk_failed") return report.fail(error as Error);
      const { neededBytes } = about;
      report.send({ kind: "notSaved", value: { step, attempt, reason: describeError(error), neededBytes } });
    } finally {
      isWriting = false;
    }
  }

  return {
    async save(task, { optimizer, facts }, signal) {
      const { step, position, part, parts, path } = task;
      const start = performance.now();
      if (isWriting) {
        report.doing("waiting for the disk: the checkpoint before is not written yet");
        await Promise.race([writing, aborted(signal)]);
        signal.throwIfAborted();
      }
      const waited = performance.now();
      report.doing(`copying its part of the checkpoint of step ${step}`);
      const division = divideCheckpoint(weights, optimizer.buffers, parts);
      const copied = copyPart(division.parts[part] ?? [], writer.room);
      const isFirst = part === 0;
      const order = {
        path,
        step,
        part,
        parts,
        ...copied,
        texts: isFirst ? checkpointTexts(weights, texts, division.index) : [],
      };
      const { name, step: updates } = optimizer;
      const state: CheckpointFacts = {
        format: division.optimizerFiles > 1 ? 2 : 1,
        ...{ step, position, ...facts },
        optimizer: { name, step: updates },
      };
      const times = { waitedSeconds: (waited - start) / 1000, copiedSeconds: (performance.now() - waited) / 1000 };
      const factsJson = isFirst ? JSON.stringify(state) : "";
      writing = write(task, order, { times, factsJson, neededBytes: division.sizeBytes });
      report.doing("waiting for a plan");
    },
    written: () => writing,
    close: () => writer.close(),
  };
}

/** What is known of a save before it is written. */
interface Said {
  readonly times: { readonly waitedSeconds: number; readonly copiedSeconds: number };
  readonly factsJson: string;
  readonly neededBytes: number;
}
