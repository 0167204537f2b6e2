// Files that are either whole or absent: temporary file beside the target, fsync, rename, fsync of the folder.
// Not a store: one call writes one file.

import { randomBytes } from "node:crypto";
import { open, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { diskError } from "./disk-error.ts";

type Chunk = Uint8Array | string;

const untouched = "; what was there before is untouched";

/** Writes `chunks` one after another to `path`, so that a reader or a crash never sees a part of it. */
export async function writeFileAtomic(
  path: string,
  chunks: Chunk | Iterable<Chunk> | AsyncIterable<Chunk>,
  options: { mode?: number } = {},
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const file = await open(temporary, "wx", options.mode);
    try {
      const all = typeof chunks === "string" || chunks instanceof Uint8Array ? [chunks] : chunks;
      for await (const chunk of all) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw diskError(`cannot write ${path}`, error, untouched);
  }
}

/** Points the symbolic link at `path` to `target` in one step. */
export async function replaceLink(path: string, target: string): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await symlink(target, temporary);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw diskError(`cannot write ${path}`, error, untouched);
  }
}

/** Makes renames inside `folder` durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
}
