// What `ringtune merge` and `ringtune export` have in common: a model directory for other tools, in a new folder, with the
// tokenizer and whatever else belongs to the model.

import { copyFile, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { InvalidArgumentError, Option, type Command } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { writeModelDirectory, type LoadedModel } from "../model/huggingface.ts";
import { storedTypes, type StoredType } from "../model/safetensors.ts";

export interface OutputOptions {
  readonly out: string;
  readonly dtype: StoredType;
  /** Bytes of a file of weights. */
  readonly shardSize?: number;
}

/** What else a model directory has. */
const companions = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "generation_config.json",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
];

export function withOutputOptions(command: Command): Command {
  return command
    .requiredOption("--out <dir>", "where to write the model; must not exist or be empty")
    .addOption(new Option("--dtype <type>", "how to store the weights").choices(storedTypes).default("float32"))
    .option("--shard-size <size>", "largest file of weights, such as 500MB or 2GB (default: 5GB)", parseSize);
}

/** Throws `usage` when the folder holds something, or can't be written. Before the model is read, which takes long. */
export async function assertEmpty(out: string): Promise<void> {
  const there = await readdir(out).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    throw new RingtuneError("usage", `cannot write to ${out}: ${cause.code}`, { cause });
  });
  if (there.length === 0) return;
  const sentence = `${out} holds ${there.length} files already and is left as it is; choose another --out`;
  throw new RingtuneError("usage", sentence);
}

/** Writes `loaded`; each of the other files comes from the first of `folders` that has it. */
export async function writeOut(
  loaded: LoadedModel,
  folders: readonly string[],
  { out, dtype, shardSize }: OutputOptions,
): Promise<void> {
  await mkdir(out, { recursive: true });
  for (const name of companions) await copyFirst(name, folders, out);
  await writeModelDirectory(out, loaded, { type: dtype, shardBytes: shardSize });
}

async function copyFirst(name: string, folders: readonly string[], into: string): Promise<void> {
  for (const folder of folders) {
    try {
      return await copyFile(join(folder, name), join(into, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

function parseSize(text: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*(kB|MB|GB)$/i.exec(text) ?? [];
  const size = Number(number) * ({ kb: 1e3, mb: 1e6, gb: 1e9 }[unit.toLowerCase()] ?? NaN);
  if (size >= 1) return size;
  throw new InvalidArgumentError("Give a size such as 500MB or 2GB.");
}
