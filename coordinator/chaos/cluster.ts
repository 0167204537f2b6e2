// The processes of a run as a person would start them on terminals of their own: `ringtune coordinator` and workers, and what
// can be seen of them from outside: their exits, what the coordinator prints, its status, metrics.jsonl. Nothing here knows
// of faults; whoever has a cluster may kill, stop and start its processes.

import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, createWriteStream, openSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { RingtuneError } from "../../common/errors.ts";
import { workerEnvironment } from "../../common/worker-environment.ts";
import type { RunStatus } from "../../proto/admin.ts";
import { contactRun } from "../rpc/admin.ts";
import { now } from "../rpc/driver.ts";
import { followRecords, type Follower } from "./records.ts";

export interface ClusterOptions {
  /** Arguments of `ringtune coordinator` for a new run. */
  readonly args: readonly string[];
  /** The folder that the run will have, absolute. */
  readonly run: string;
  /** Folder for what the processes print. */
  readonly logs: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Process {
  readonly id: string;
  readonly pid: number;
  /** When it was started; milliseconds since 1970. */
  readonly startedMs: number;
  /** Undefined as long as it runs. */
  readonly exit: Exit | undefined;
  readonly exited: Promise<Exit>;
  /** False when it has gone already. */
  kill(signal: NodeJS.Signals): boolean;
}

export interface Cluster {
  readonly run: string;
  readonly records: Follower;
  /** The running one, or the last. */
  readonly coordinator: Process;
  readonly workers: readonly Process[];
  /** host:port for workers. */
  readonly address: string;
  /** Starts a coordinator for the run that is there: resolves when it answers. */
  restartCoordinator(): Promise<void>;
  /** `address` instead of the coordinator's own. */
  startWorker(address?: string): Process;
  /** Of the coordinator; undefined when it does not answer. */
  status(): Promise<RunStatus | undefined>;
  /** Resolves with what matched in a line of a coordinator, from now on. Rejects when `signal` aborts. */
  said(pattern: RegExp, signal: AbortSignal): Promise<RegExpExecArray>;
  /** Calls back for each line that a coordinator prints from now on. */
  onLine(listener: (line: string) => void): void;
  /** Everything that the coordinators printed. */
  readonly printed: readonly string[];
  /** Ends all processes, whatever state they are in. */
  close(): Promise<void>;
}

const program = fileURLToPath(new URL("../cli/main.js", import.meta.url));
const workerProgram = fileURLToPath(new URL("../../worker/main.js", import.meta.url));
/** Ends a process when this one is gone, however it went. */
const preload = new URL("../cli/exit-with-parent.js", import.meta.url).href;
const LOOK_EVERY_MS = 10;

/** Starts a coordinator; resolves when it waits for workers. Throws what it said when it ends before. */
export async function startCluster({ args, run, logs }: ClusterOptions): Promise<Cluster> {
  await mkdir(logs, { recursive: true });
  const workers: Process[] = [];
  const coordinators: Process[] = [];
  const printed: string[] = [];
  const listeners = new Set<(line: string) => void>();
  const log = createWriteStream(join(logs, "coordinator.log"), { flags: "a" });
  const onLine = (line: string): void => {
    printed.push(line);
    if (!log.writableEnded) log.write(`${line}\n`);
    for (const listener of [...listeners]) listener(line);
  };
  let address = "";

  const startCoordinator = async (given: readonly string[]): Promise<void> => {
    const child = spawn(process.execPath, ["--import", preload, program, "coordinator", ...given], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, NO_COLOR: "1" },
    });
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream! }).on("line", onLine);
    const own = describeProcess("coordinator", child);
    coordinators.push(own);
    const before = printed.length;
    for (;;) {
      if (own.exit !== undefined) {
        const said = printed
          .slice(before)
          .slice(-4)
          .join(" / ")
          .replace(/^ringtune: /, "");
        throw new RingtuneError("worker_lost", `the coordinator ended with ${describeExit(own.exit)}: ${said}`);
      }
      const found = await joinAddress(run);
      if (found !== undefined) {
        address = found;
        return;
      }
      await delay(LOOK_EVERY_MS);
    }
  };

  const status = (): Promise<RunStatus | undefined> =>
    contactRun(run).then(
      (client) => client.status().catch(() => undefined),
      () => undefined,
    );
  const joinAddress = async (folder: string): Promise<string | undefined> => {
    const token = await readFile(join(folder, "join-token")).catch(() => undefined);
    const [, found] = /--coordinator (\S+)/.exec((await status())?.joinCommand ?? "") ?? [];
    return token === undefined ? undefined : found;
  };

  const close = async (): Promise<void> => {
    for (const each of [...workers, ...coordinators]) each.kill("SIGKILL");
    await Promise.all([...workers, ...coordinators].map(({ exited }) => exited));
    await records.close();
    await new Promise((resolve) => log.end(resolve));
  };
  const records = followRecords(join(run, "metrics.jsonl"));
  try {
    await startCoordinator(args);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    run,
    records,
    workers,
    printed,
    status,
    close,
    get address() {
      return address;
    },
    get coordinator() {
      return coordinators.at(-1)!;
    },
    restartCoordinator: () => startCoordinator([...args, "--resume", run]),
    startWorker(from = address) {
      const id = `w${workers.length}`;
      const output = openSync(join(logs, `${id}.log`), "a");
      const child = spawn(
        process.execPath,
        [
          ...["--import", preload, workerProgram, "--coordinator", from, "--id", id],
          ...["--token-file", join(run, "join-token")],
        ],
        { detached: true, stdio: ["ignore", output, output, "ipc"], env: workerEnvironment() },
      );
      closeSync(output);
      const worker = describeProcess(id, child);
      workers.push(worker);
      return worker;
    },
    onLine: (listener) => void listeners.add(listener),
    said: (pattern, signal) =>
      new Promise((resolve, reject) => {
        const stop = (): void => {
          listeners.delete(look);
          signal.removeEventListener("abort", abort);
        };
        const abort = (): void => {
          stop();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort is the caller's
          reject(signal.reason);
        };
        const look = (line: string): void => {
          const match = pattern.exec(line);
          if (match === null) return;
          stop();
          resolve(match);
        };
        if (signal.aborted) return abort();
        signal.addEventListener("abort", abort, { once: true });
        listeners.add(look);
      }),
  };
}

function describeProcess(id: string, child: ChildProcess): Process {
  const startedMs = now();
  let exit: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once("error", () => resolve((exit = { code: null, signal: null })));
    child.once("exit", (code, signal) => resolve((exit = { code, signal })));
  });
  return {
    id,
    pid: child.pid ?? -1,
    startedMs,
    exited,
    get exit() {
      return exit;
    },
    kill: (signal) => exit === undefined && child.kill(signal),
  };
}

/** "exit code 1", "SIGKILL" */
export function describeExit({ code, signal }: Exit): string {
  return signal ?? `exit code ${code}`;
}
