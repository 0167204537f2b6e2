// A whole checkpoint in one call, as workers and the coordinator make it together: every part copied and written, one after
// another, then joined.

import { basename, dirname, join } from "node:path";
import { joinParts } from "../../coordinator/store/checkpoint-parts.ts";
import { writePart, type WrittenFile } from "../../worker/train/checkpoint-part.ts";
import type { CheckpointTexts } from "../../worker/train/checkpoint-parts.ts";
import { createSaver, type Contents } from "../../worker/train/checkpoint-saver.ts";
import type { PartWriter } from "../../worker/train/checkpoint-writer.ts";
import type { OptimizerState } from "../../worker/train/optimizer.ts";
import type { TrainedWeights } from "../../worker/train/trained-weights.ts";

/** Writes in this thread, while the caller waits: threads run what is built, tests the sources. */
export function directWriter(): PartWriter {
  let room: Float32Array | undefined;
  return {
    get room() {
      return room;
    },
    async write(order) {
      room = order.copy;
      return writePart(order);
    },
    close: () => Promise.resolve(),
  };
}

export type CheckpointContents = CheckpointTexts &
  Contents["facts"] & {
    readonly weights: TrainedWeights;
    readonly optimizer: OptimizerState;
    readonly step: number;
    readonly position: number;
    /** Number of writers; 1 when left out. */
    readonly parts?: number;
  };

/** Throws what any of the writers does. */
export async function writeCheckpoint(directory: string, contents: CheckpointContents): Promise<void> {
  const { weights, optimizer, step, position, parts = 1, seed, worldSize, lossScale, baseDigest, ...texts } = contents;
  const facts = { seed, worldSize, ...(lossScale && { lossScale }), ...(baseDigest && { baseDigest }) };
  const path = join(dirname(directory), `.${basename(directory)}.tmp`);
  const files: WrittenFile[] = [];
  let factsJson = "";
  let failure: Error | undefined;
  for (let part = 0; part < parts; part++) {
    const saver = createSaver(weights, texts, {
      writer: directWriter(),
      report: {
        doing: () => undefined,
        fail: (error) => (failure = error),
        send: (message) => {
          if (message.kind === "notSaved") failure = new Error(message.value.reason);
          if (message.kind !== "saved") return;
          files.push(...message.value.files);
          factsJson += message.value.factsJson;
        },
      },
    });
    const task = { generation: 1, step, position, path, part, parts, attempt: 1 };
    await saver.save(task, { optimizer, facts }, new AbortController().signal);
    await saver.written();
    if (failure !== undefined) throw failure;
  }
  await joinParts(directory, path, { files, facts: factsJson });
}
