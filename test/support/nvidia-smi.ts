// A machine with NVIDIA GPUs as far as nvidia-smi says: a shell script of that name in front of the PATH.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** The variables of an environment in which nvidia-smi is this shell script; it is removed at the end of the test. */
export async function withNvidiaSmi(script: string): Promise<{ PATH: string }> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-smi-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "nvidia-smi");
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
}
