// A folder that nothing can be written to for a while, whoever writes, root too: in its place there is a file, or over it lies a
// disk that is full.

import { spawnSync } from "node:child_process";
import { rename, rm, writeFile } from "node:fs/promises";

/** What fits on the full disk. */
const FULL_KIB = 8;

/** Resolves with what makes the folder good again; undefined when it can't be broken, or is broken already. */
export async function breakFolder(folder: string, full: boolean): Promise<(() => Promise<void>) | undefined> {
  if (full) {
    const options = ["-t", "tmpfs", "-o", `size=${FULL_KIB}k`, "ringtune-chaos", folder];
    if (spawnSync("mount", options).status !== 0) return undefined;
    return async () => void spawnSync("umount", ["-l", folder]);
  }
  const away = `${folder}.away`;
  const moved = await rename(folder, away).then(
    () => true,
    () => false,
  );
  if (!moved) return undefined;
  await writeFile(folder, "");
  return async () => {
    await rm(folder, { force: true, recursive: true });
    await rename(away, folder);
  };
}
