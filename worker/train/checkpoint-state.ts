// state.json: what a checkpoint is, written last, with the size and digest of every other file, so that a checkpoint
// proves by itself that it is whole. Where checkpoints lie and which is the latest is the coordinator's business.

import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { RingtuneError } from "../../common/errors.ts";
import { readJson } from "../model/read-json.ts";
import { adapterFile } from "../model/adapter-files.ts";
import { indexFile, modelFile } from "../model/shards.ts";
import { smallestLossScale } from "./loss-scale.ts";
import { isOptimizerFile } from "./optimizer-file.ts";
import { optimizerNames } from "./optimizer-rules.ts";

export const stateFile = "state.json";
/** 1: the optimizer's state in one file, which is still written where one worker writes. 2: in several. */
export const checkpointFormats = [1, 2] as const;
const newestFormat = 2;

/** Every checkpoint has one of each; adapter_config.json and tokenizer_config.json too when there is one. */
const requiredFiles: readonly { readonly what: string; readonly is: (name: string) => boolean }[] = [
  { what: "config.json", is: (name) => name === "config.json" },
  {
    what: [modelFile, indexFile, adapterFile].join(" or "),
    is: (name) => [modelFile, indexFile, adapterFile].includes(name),
  },
  { what: "optimizer.safetensors", is: isOptimizerFile },
  { what: "tokenizer.json", is: (name) => name === "tokenizer.json" },
];

const count = z.int().min(0);

const schema = z.object({
  /** Version of this layout. */
  format: z.literal(checkpointFormats),
  /** Committed optimizer steps in the weights. */
  step: count,
  /** Samples of the stream that those steps consumed. */
  position: count,
  seed: count,
  /** Of the workers that wrote it; any number can resume. */
  worldSize: count,
  optimizer: z.object({ name: z.enum(optimizerNames), step: count }),
  /** Of float16; see loss-scale.ts. */
  lossScale: z.object({ scale: z.number().min(smallestLossScale), goodSteps: count }).optional(),
  /** Of the weights that are not trained, where only an adapter is saved. */
  baseDigest: z.string().optional(),
  files: z.record(z.string(), z.object({ sizeBytes: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
});

export type CheckpointState = Readonly<z.output<typeof schema>>;

/** state.json without the list of files, which is complete only when all parts are written. */
export type CheckpointFacts = Omit<CheckpointState, "files">;

/** Reads and checks state.json alone. Throws `checkpoint_invalid`. */
export async function readCheckpointState(directory: string): Promise<CheckpointState> {
  const path = join(directory, stateFile);
  const json = await readJson(path);
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > newestFormat) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path} is of format ${format}, this version reads up to ${newestFormat}; use the version that wrote it`,
      { details: { file: path, found: format, expected: newestFormat } },
    );
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path: at, message }) => `${at.join(".") || "it"}: ${message}`);
    throw new RingtuneError("checkpoint_invalid", `${path} is not a checkpoint's state: ${problems.join("; ")}`, {
      details: { file: path },
    });
  }
  return parsed.data;
}

/**
 * Reads state.json and compares the size and the digest of every file with it.
 * Throws `checkpoint_invalid` that names the first file that is missing, truncated or corrupt, with both numbers.
 */
export async function verifyCheckpoint(directory: string): Promise<CheckpointState> {
  const state = await readCheckpointState(directory);
  for (const { what, is } of requiredFiles) {
    if (!Object.keys(state.files).some(is)) {
      throw damaged(join(directory, stateFile), `does not list ${what}, which every checkpoint has`, { missing: what });
    }
  }
  for (const [name, { sizeBytes, sha256 }] of Object.entries(state.files)) {
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) throw damaged(path, "is missing", { expected: sizeBytes });
    if (found.size !== sizeBytes) {
      const what = found.size < sizeBytes ? "truncated" : "corrupt";
      throw damaged(path, `is ${what}: ${found.size} bytes, ${sizeBytes} were written`, {
        found: found.size,
        expected: sizeBytes,
      });
    }
    const digest = await digestFile(path);
    if (digest !== sha256) {
      throw damaged(path, `is corrupt: its SHA-256 is ${digest}, ${sha256} was written`, {
        found: digest,
        expected: sha256,
      });
    }
  }
  return state;
}

async function digestFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, "r");
  try {
    for await (const chunk of file.createReadStream({ highWaterMark: 1024 * 1024, autoClose: false })) {
      hash.update(chunk as Buffer);
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

function damaged(path: string, what: string, details: Readonly<Record<string, string | number>>): RingtuneError {
  return new RingtuneError("checkpoint_invalid", `${path} ${what}; resume from an earlier checkpoint`, {
    details: { file: path, ...details },
  });
}
