// The parts of a checkpoint on their way to be one: workers write them into a hidden folder of the run, and when all are
// there, state.json lists their sizes and digests, and the folder gets its name. So a checkpoint is whole or absent.
//
//     checkpoints/.step-00000100.3f9c-7.tmp      the 7th try of the process 3f9c
//     checkpoints/step-00000100
//
// Who writes what, and which of several tries counts, is decided in core/saving.ts.

import { readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder, writeFileAtomic } from "../../common/atomic-file.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { SavedFile } from "../core/state.ts";
import { checkpointName, parseCheckpointState, removeAside } from "./checkpoints.ts";

export interface CheckpointParts {
  readonly files: readonly SavedFile[];
  /** state.json without the files. */
  readonly facts: string;
}

/** `key` tells this process from others that have written or will write the run. */
export function partsPath(run: string, step: number, key: string, attempt: number): string {
  return join(run, "checkpoints", `.${checkpointName(step)}.${key}-${attempt}.tmp`);
}

/**
 * Makes the checkpoint `folder` of the parts in `parts`, which are on stable storage. One that is there already is replaced.
 * Throws `disk_failed`, or `checkpoint_invalid` for a file that is not what its writer said, with both numbers.
 */
export async function joinParts(folder: string, parts: string, { files, facts }: CheckpointParts): Promise<void> {
  for (const { name, sizeBytes } of files) {
    const path = join(parts, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.size === sizeBytes) continue;
    throw new RingtuneError(
      "checkpoint_invalid",
      found === undefined
        ? `${path} is not there, though a worker has written it: do all that write share the folder of the run? See checkpoint.writers`
        : `${path} has ${found.size} bytes, ${sizeBytes} were written`,
    );
  }
  const listed = Object.fromEntries(
    files
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, sizeBytes, sha256 }) => [name, { sizeBytes, sha256 }]),
  );
  const text = `${JSON.stringify({ ...(JSON.parse(facts) as object), files: listed }, undefined, 2)}\n`;
  parseCheckpointState(text, join(folder, "state.json"));
  await writeFileAtomic(join(parts, "state.json"), text);
  // Only a publication that failed half way leaves one; it was never the latest.
  if ((await stat(folder).catch(() => undefined)) !== undefined) await removeAside(folder);
  await rename(parts, folder);
  await syncFolder(dirname(folder));
}

/**
 * Removes what is left of tries that came to nothing, of this process up to `attempt` and of all earlier ones: also what a
 * worker wrote that did not know it yet.
 */
export async function removeParts(run: string, key: string, attempt = Infinity): Promise<void> {
  const folder = join(run, "checkpoints");
  for (const name of await readdir(folder).catch(() => [])) {
    if (!/^\.step-\d+\..*\.tmp$/.test(name)) continue;
    const own = new RegExp(`^\\.step-\\d+\\.${key}-(\\d+)\\.tmp$`).exec(basename(name))?.[1];
    if (own !== undefined && Number(own) > attempt) continue;
    await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined);
  }
}
