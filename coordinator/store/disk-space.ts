// How much there is on a disk, and how much of it a folder takes. Reads only.

import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";

/** Bytes that this user can still write on the disk of `path`. Throws what the file system says. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Bytes of the files of a folder, without subfolders. Throws what the file system says. */
export async function folderBytes(path: string): Promise<number> {
  const entries = await readdir(path, { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async ({ name }) => (await stat(join(path, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
