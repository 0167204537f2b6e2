// Where the weights are: a run directory (its best checkpoint, else the latest), a checkpoint, a Hugging Face model
// directory, or an adapter of PEFT.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { isAdapter } from "../model/adapter-files.ts";
import { verifyCheckpoint } from "../train/checkpoint-state.ts";

/**
 * The directory with config.json, model.safetensors and tokenizer.json that `path` means. A checkpoint's digests are
 * verified. Throws `run_missing` when there is nothing, `checkpoint_invalid` when a checkpoint is damaged.
 */
export async function locateModel(path: string): Promise<string> {
  const links = [join(path, "best"), join(path, "latest")];
  const there = await Promise.all(links.map(exists));
  const directory = links.find((_, i) => there[i]) ?? path;
  if (!(await exists(join(directory, "config.json"))) && !(await isAdapter(directory))) {
    const why = !(await exists(path))
      ? "does not exist"
      : (await exists(join(path, "checkpoints")))
        ? "is a run without a complete checkpoint; let it train until it has written one"
        : "is neither a run directory (no latest checkpoint) nor a model directory (no config.json)";
    throw new RingtuneError("run_missing", `${path} ${why}`, { details: { path } });
  }
  if (await exists(join(directory, "state.json"))) await verifyCheckpoint(directory);
  return directory;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
