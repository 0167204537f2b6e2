// What of an earlier run a new one goes on with: its model, its tokenizer, the data it was made of. Read before anything of
// the run changes; what is wrong with it is said with the way out. The run directory itself is store/run-directory.ts.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../common/atomic-file.ts";
import type { Config } from "../common/config/schema.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { headOf } from "../common/task.ts";
import type { TokenizerFiles } from "./data/obtain-tokenizer.ts";
import type { PreparedData } from "./data/prepare.ts";
import { readModelConfig, type ModelConfig } from "./model-config.ts";
import { wayOut } from "./store/checkpoints.ts";
import type { Checkpoint, RunDirectory } from "./store/run-directory.ts";

/** Of the checkpoint, or of `model.from`; undefined when the model begins with this run. Throws `checkpoint_invalid`. */
export async function readEarlierModel(
  config: Config,
  directory: Pick<RunDirectory, "checkpoint" | "path">,
): Promise<ModelConfig | undefined> {
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
export async function readTokenizer(directory: Pick<RunDirectory, "file">): Promise<TokenizerFiles> {
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

/** Beside the run's records: data.json. */
const dataSchema = z.object({
  digest: z.hex().length(64),
  origin: z
    .object({
      key: z.array(z.union([z.string(), z.number()])),
      documents: z.object({ train: z.number(), validation: z.number() }),
      characters: z.object({ train: z.number(), validation: z.number() }),
      labels: z.array(z.string()),
      format: z.enum(["messages", "alpaca", "completion"]).optional(),
    })
    .optional(),
});

/** Which data the run was made of. Throws `checkpoint_invalid`. */
export async function readData(directory: Pick<RunDirectory, "file">): Promise<z.infer<typeof dataSchema>> {
  const path = directory.file("data.json");
  const saved = await readFile(path, "utf8").catch((error: unknown) => describeError(error));
  try {
    return dataSchema.parse(JSON.parse(saved));
  } catch (cause) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} does not say which data the run was made of (${JSON.stringify(saved.slice(0, 80))}); it was damaged or removed, train into a new run`,
      { cause },
    );
  }
}

/** A resumed run goes on with the samples it began with, or not at all: `data_invalid`. A new one writes down which they are. */
export async function assertSameData(
  directory: RunDirectory,
  { summary: { digest }, origin }: Pick<PreparedData, "summary" | "origin">,
  resumed: boolean,
): Promise<void> {
  if (!resumed) return writeFileAtomic(directory.file("data.json"), `${JSON.stringify({ digest, origin })}\n`);
  const before = (await readData(directory)).digest;
  if (before === digest) return;
  throw new RingtuneError(
    "data_invalid",
    `the data has changed since the run ${directory.path} began: its tokens have digest ${digest} now, ${before} then; put the old data back, or train into a new run`,
  );
}

/** A sentence about a damaged checkpoint, and which other there is. */
export async function withWayOut(
  sentence: string,
  damaged: Checkpoint,
  directory: Pick<RunDirectory, "path">,
): Promise<string> {
  return `${sentence}; ${await wayOut(directory.path, basename(damaged.path))}`;
}
