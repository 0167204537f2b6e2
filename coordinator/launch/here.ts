// This host as a site for workers: processes of the compiled worker, each pinned to its device by its environment. They
// end with this process, however it ends.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { assert, RingtuneError } from "../../common/errors.ts";
import { bracketed, isEveryAddress } from "../../common/loopback.ts";
import { toText } from "../../common/secrets.ts";
import { workerEnvironment } from "../../common/worker-environment.ts";
import type { DevicePlan } from "../devices.ts";
import { describeExit, type Ending, type Site } from "./site.ts";
import { readOutput, type WorkerOutput } from "./worker-output.ts";

/** The compiled worker stands beside the compiled coordinator. */
const program = fileURLToPath(new URL("../../worker/main.js", import.meta.url));

/** Otherwise a worker would look for its coordinator when that is gone. */
const preload = new URL("../cli/exit-with-parent.js", import.meta.url).href;

/** Throws `internal` when the worker is not built. */
export function openHere({ workers, environment }: DevicePlan): Site {
  if (!existsSync(program)) {
    throw new RingtuneError("internal", `${program} is missing; build first (make build)`);
  }
  return {
    slots: workers,
    callAt: (host, port) => `${isEveryAddress(host) ? "127.0.0.1" : bracketed(host)}:${port}`,
    start({ id, index, arguments: more, secrets, onLine }) {
      // It ends with this process: the preload listens on the channel. Detached: Ctrl-C reaches the coordinator alone, which
      // lets the workers finish. Secrets are no arguments, since those are everybody's to see.
      // It has no other coordinator, so one that is stopped is waited for.
      const own = ["--id", id, "--secrets", "--patience", "0", "--log", "json"];
      const args = ["--import", preload, program, ...own, ...more];
      const child = spawn(process.execPath, args, {
        detached: true,
        stdio: ["pipe", "pipe", "pipe", "ipc"],
        env: { ...workerEnvironment(), ...environment(index) },
      });
      const { stdin, stdout, stderr } = child;
      assert(stdin && stdout && stderr, "all streams of a worker are pipes");
      // A worker that ends before it has read them says why itself.
      stdin.on("error", () => undefined).end(`${JSON.stringify(toText(secrets))}\n`);
      return {
        pid: () => child.pid,
        ended: endingOf(child, readOutput(stdout, stderr, onLine)),
        kill: (signal) => void child.kill(signal),
      };
    },
    close: async () => undefined,
  };
}

/** Resolves with how the process ended, and how it failed in words if it did. */
function endingOf(child: ChildProcess, output: WorkerOutput): Promise<Ending> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      resolve({ code: null, signal: null, words: `could not be started: ${error.message}` });
    });
    child.once("close", (code, signal) => resolve(describeExit({ code, signal }, output.lastWords())));
  });
}
