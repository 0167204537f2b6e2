// A file system of its own that is soon full; only root can have one.

import { spawnSync } from "node:child_process";
import { mkdtemp, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder on a disk of so many KiB, gone when the test is; undefined where none can be mounted. */
export async function smallDisk(kibibytes: number): Promise<string | undefined> {
  return mounted(`size=${kibibytes}k`);
}

/** As `mount -t tmpfs -o` takes them. */
export async function mounted(options: string): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-disk-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "ringtune-test", folder]);
  if (status !== 0) return undefined;
  onTestFinished(() => void spawnSync("umount", ["-l", folder]));
  return folder;
}

/** Takes all the room that is left on a disk, until what it returns is called. */
export async function fill(disk: string): Promise<() => Promise<void>> {
  const filler = join(disk, "filler");
  const { bsize, bavail } = await statfs(disk);
  await writeFile(filler, Buffer.alloc(bsize * bavail + 1)).catch(() => undefined);
  return () => rm(filler);
}

/** Gives a disk of `mounted` more room. */
export function enlarge(disk: string, kibibytes: number): void {
  spawnSync("mount", ["-o", `remount,size=${kibibytes}k`, disk]);
}
