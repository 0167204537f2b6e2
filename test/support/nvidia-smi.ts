// A machine with GPUs as far as nvidia-smi or another tool says: a shell script of that name in front of the PATH.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** The variables of an environment in which nvidia-smi is this shell script; it is removed at the end of the test. */
export function withNvidiaSmi(script: string): Promise<{ PATH: string }> {
  return withTool("nvidia-smi", script);
}

/** The same for any tool. */
export async function withTool(name: string, script: string): Promise<{ PATH: string }> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-smi-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
}
