// Runs a program of the worker's side (`ringtune worker`, `generate`, `predict`, `merge`, `export`, `fixtures`) as a
// child process: the coordinator's side never imports it. The child reads its own arguments, writes to the same terminal and gives the exit code.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { RingtuneError } from "../../common/errors.ts";
import { workerEnvironment } from "../../common/worker-environment.ts";

export type WorkerProgram =
  | "main"
  | "generate/main"
  | "predict/main"
  | "evaluate/main"
  | "merge/main"
  | "export/main"
  | "fixtures/main"
  | "bench/main";

/** Ends the child when this process is gone, however it went; see exit-with-parent.ts. */
const preload = new URL("./exit-with-parent.js", import.meta.url);

/**
 * Resolves to the exit code: the program's own, or 128 plus the number of the signal that killed it.
 * SIGINT and SIGTERM are passed on once each time; the program decides what they mean.
 * Throws RingtuneError `internal` when the program is not built or can't be started.
 */
export async function runWorkerProgram(program: WorkerProgram, args: readonly string[]): Promise<number> {
  const path = fileURLToPath(new URL(`../../worker/${program}.js`, import.meta.url));
  if (!existsSync(path)) throw new RingtuneError("internal", `${path} is missing; build first: make build`);
  const child = spawn(process.execPath, ["--import", preload.href, path, ...args], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    // In a group of its own, so that Ctrl-C reaches it once, through this process, and not twice.
    detached: true,
    env: workerEnvironment(),
  });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", pass).on("SIGTERM", pass);
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", (cause) => {
        reject(new RingtuneError("internal", `can't start ${path}: ${cause.message}`, { cause }));
      });
      child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]));
    });
  } finally {
    process.off("SIGINT", pass).off("SIGTERM", pass);
  }
}
