// A `ringtune coordinator` as a process of its own, for those that play its workers: it is started as a person would start it,
// and says where it listens.

import { spawn, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { packageRoot } from "../../common/package-root.ts";

export interface StartedCoordinator {
  readonly child: ChildProcess;
  /** host:port */
  readonly address: string;
  readonly joinToken: string;
  /** Rejects when the coordinator ends with an error. */
  readonly failed: Promise<never>;
}

/** The program that a person calls. */
export const ringtuneProgram = join(packageRoot, "dist/coordinator/cli/main.js");

/** Resolves once it listens. Rejects with `worker_lost` and its own last words when it ends before. */
export async function startCoordinator(
  config: string,
  folder: string,
  signal: AbortSignal,
): Promise<StartedCoordinator> {
  const child = spawn(process.execPath, [ringtuneProgram, "coordinator", config], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  child.once("close", () => signal.removeEventListener("abort", kill));
  const { address, tokenFile, failed } = await listening(child);
  return { child, address, failed, joinToken: (await readFile(tokenFile, "utf8")).trim() };
}

function listening(
  child: ChildProcess,
): Promise<{ readonly address: string; readonly tokenFile: string; readonly failed: Promise<never> }> {
  let output = "";
  return new Promise((resolve, reject) => {
    const failed = new Promise<never>((_, fail) => {
      child.once("close", (code) => {
        const error = new RingtuneError("worker_lost", `the coordinator ended with ${code}: ${output.slice(-2000)}`);
        reject(error);
        if (code !== 0) fail(error);
      });
    });
    failed.catch(() => undefined);
    const look = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-20_000);
      const [, address, tokenFile] = /--coordinator (\S+) --token-file (\S+)/.exec(output) ?? [];
      if (address !== undefined && tokenFile !== undefined) resolve({ address, tokenFile, failed });
    };
    child.stdout!.on("data", look);
    child.stderr!.on("data", look);
  });
}
