// What of an earlier run a new one goes on with: its model, its tokenizer, the data it was made of. Read before anything of
// the run changes; what is wrong with it is said with the way out. The run directory itself is store/run-directory.ts.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { writeFileAtomic } from "../common/atomic-file.ts";
import type { Config } from "../common/config/schema.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { headOf } from "../common/task.ts";
import type { TokenizerFiles } from "./data/obtain-tokenizer.ts";
import { readModelConfig, type ModelConfig } from "./model-config.ts";
import { wayOut } from "./store/checkpoints.ts";
import type { Checkpoint, RunDirectory } from "./store/run-directory.ts";

/** Of the checkpoint, or of `model.from`; undefined when the model begins with this run. Throws `checkpoint_invalid`. */
export async function readEarlierModel(config: Config, directory: RunDirectory): Promise<ModelConfig | undefined> {
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

/** Throws `checkpoint_invalid`. */
export async function readTokenizer(directory: RunDirectory): Promise<TokenizerFiles> {
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

/** A resumed run goes on with the samples it began with, or not at all: `data_invalid`. A new one writes down which they are. */
export async function assertSameData(directory: RunDirectory, digest: string, resumed: boolean): Promise<void> {
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

/** A sentence about a damaged checkpoint, and which other there is. */
export async function withWayOut(sentence: string, damaged: Checkpoint, directory: RunDirectory): Promise<string> {
  return `${sentence}; ${await wayOut(directory.path, basename(damaged.path))}`;
}
