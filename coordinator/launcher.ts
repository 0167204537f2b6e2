// Starts the worker processes of `ringtune train` on this host and sees them off. Not a supervisor: a worker that dies
// is the core's business, which carries on with the others.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { RingtuneError } from "../common/errors.ts";
import { workerEnvironment } from "../common/worker-environment.ts";

export interface LaunchOptions {
  readonly count: number;
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly joinToken: string;
  /** Certificate folder, if the coordinator has one. */
  readonly certs?: string | undefined;
  /** Variables to add to the environment of worker `index`, such as the GPU that it may use. */
  readonly environment: (index: number) => Readonly<Record<string, string>>;
  /** A worker process has ended otherwise than by finishing: "worker w0 (pid 12) was killed by SIGKILL". */
  readonly onFailure: (sentence: string) => void;
}

export interface Launched {
  /** Starts so many workers more. */
  add(count: number): void;
  /** How the process of worker `id` failed, if it is one of ours and ends at once; see exitOf. */
  lastWords(id: string): Promise<string | undefined>;
  /** Waits for the processes to end; those that do not within `graceMs` are killed. */
  close(graceMs: number): Promise<void>;
}

/** A process whose stream broke is given so long to end, as it does when it crashed. */
const LAST_WORDS_MS = 300;

/** The compiled worker stands beside the compiled coordinator. */
const program = fileURLToPath(new URL("../worker/main.js", import.meta.url));

export function launchWorkers(options: LaunchOptions): Launched {
  if (!existsSync(program)) {
    throw new RingtuneError("internal", `${program} is missing; build first (make build)`);
  }
  let closing = false;
  const processes: { id: string; index: number; child: ChildProcess; ended: Promise<string | undefined> }[] = [];

  const startOne = (): void => {
    const id = `w${processes.length}`;
    // The place of one that has ended, and its GPU, are free again.
    const taken = new Set(processes.filter(({ child }) => isRunning(child)).map(({ index }) => index));
    let index = 0;
    while (taken.has(index)) index++;
    // Detached: Ctrl-C reaches the coordinator alone, which lets the workers finish. The token is no argument, since
    // arguments are everybody's to see.
    const certs = options.certs === undefined ? [] : ["--certs", options.certs];
    const child = spawn(process.execPath, [program, "--coordinator", options.coordinator, "--id", id, ...certs], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...workerEnvironment(), ...options.environment(index), RINGTUNE_JOIN_TOKEN: options.joinToken },
    });
    const ended = exitOf(child);
    void ended.then((how) => {
      if (how !== undefined && !closing) options.onFailure(`worker ${id} (pid ${child.pid}) ${how}`);
    });
    processes.push({ id, index, child, ended });
  };
  for (let started = 0; started < options.count; started++) startOne();
  return {
    add(count) {
      for (let started = 0; started < count && !closing; started++) startOne();
    },
    async lastWords(id) {
      const ended = processes.find((process) => process.id === id)?.ended;
      if (ended === undefined) return undefined;
      const patience = new AbortController();
      const tooLong = delay(LAST_WORDS_MS, undefined, { signal: patience.signal, ref: false }).catch(() => undefined);
      return Promise.race([ended, tooLong]).finally(() => patience.abort());
    },
    async close(graceMs) {
      closing = true;
      const kill = setTimeout(() => processes.forEach(({ child }) => child.kill("SIGKILL")), graceMs);
      await Promise.all(processes.map(({ ended }) => ended));
      clearTimeout(kill);
    },
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Resolves with how the process failed, in words, or undefined if it did not. */
function exitOf(child: ChildProcess): Promise<string | undefined> {
  let own: string | undefined;
  let lastLine = "";
  const lines = createInterface({ input: child.stderr! });
  lines.on("line", (line) => {
    if (line.startsWith("ringtune worker: ")) own ??= line.slice("ringtune worker: ".length, 2000);
    if (line.trim() !== "") lastLine = line.slice(0, 2000);
  });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`could not be started: ${error.message}`));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(undefined);
      const how = signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
      const why = own ?? lastLine;
      resolve(why === "" ? how : `${how}: ${why}`);
    });
  });
}
