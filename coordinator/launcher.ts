// Starts the worker processes of `ringtune train` on this host, starts those that crash again, and sees them off. Who takes
// part is the core's business: it carries on with the others meanwhile, and the new process joins like any newcomer.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { RingtuneError } from "../common/errors.ts";
import { workerEnvironment } from "../common/worker-environment.ts";
import { defaultRestartPolicy, Restarts, type Exit } from "./restarts.ts";

export interface LaunchOptions {
  readonly count: number;
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly joinToken: string;
  /** More arguments for each. */
  readonly arguments: readonly string[];
  /** Variables to add to the environment of worker `index`, such as the GPU that it may use. */
  readonly environment: (index: number) => Readonly<Record<string, string>>;
  /** How often a worker that crashes is started again within ten minutes. */
  readonly restarts: number;
  /** Whether the run has begun and goes on: a worker that can't even start is not tried again. */
  readonly isTraining: () => boolean;
  /** Whether the run needs a worker `id`, which is about to be started again: without it there are fewer than wanted. */
  readonly needs: (id: string) => boolean;
  /** A sentence for the user: "starting worker w0 again in 1 s (try 1 of 5)". */
  readonly onNotice: (sentence: string) => void;
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

/** A worker by its name, and the processes that have been it. */
interface Slot {
  readonly id: string;
  /** Decides its GPU. */
  readonly index: number;
  readonly restarts: Restarts;
  child: ChildProcess;
  ended: Promise<Ending>;
  /** Until its process is started again. */
  timer: NodeJS.Timeout | undefined;
}

interface Ending extends Exit {
  /** How it failed, in words; undefined if it did not. */
  readonly words: string | undefined;
}

/** A process whose stream broke is given so long to end, as it does when it crashed. */
const LAST_WORDS_MS = 300;

/** The compiled worker stands beside the compiled coordinator. */
const program = fileURLToPath(new URL("../worker/main.js", import.meta.url));

/** Otherwise a worker would look for its coordinator when that is gone. */
const preload = new URL("./cli/exit-with-parent.js", import.meta.url).href;

export function launchWorkers(options: LaunchOptions): Launched {
  if (!existsSync(program)) {
    throw new RingtuneError("internal", `${program} is missing; build first (make build)`);
  }
  let closing = false;
  const slots: Slot[] = [];

  const spawnWorker = (id: string, index: number): Pick<Slot, "child" | "ended"> => {
    // It ends with this process: the preload listens on the channel. Detached: Ctrl-C reaches the coordinator alone, which
    // lets the workers finish. The token is no argument, since arguments are everybody's to see.
    const args = ["--coordinator", options.coordinator, "--id", id, ...options.arguments];
    const child = spawn(process.execPath, ["--import", preload, program, ...args], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      env: { ...workerEnvironment(), ...options.environment(index), RINGTUNE_JOIN_TOKEN: options.joinToken },
    });
    return { child, ended: exitOf(child) };
  };

  const startOne = (): void => {
    // The place of one that has ended for good, and its GPU, are free again.
    const taken = new Set(slots.filter((slot) => isAlive(slot)).map(({ index }) => index));
    let index = 0;
    while (taken.has(index)) index++;
    const id = `w${slots.length}`;
    const restarts = new Restarts({ ...defaultRestartPolicy, tries: options.restarts });
    const slot: Slot = { id, index, restarts, timer: undefined, ...spawnWorker(id, index) };
    slots.push(slot);
    attend(slot);
  };

  const attend = (slot: Slot): void => {
    const { id, child } = slot;
    void slot.ended.then((ending) => {
      if (ending.words === undefined || closing) return;
      const sentence = `worker ${id} (pid ${child.pid}) ${ending.words}`;
      if (!options.isTraining()) return options.onFailure(sentence);
      const decision = slot.restarts.ended(ending, performance.now());
      if (decision.kind === "no") {
        if (options.restarts > 0) options.onNotice(`worker ${id} is not started again: ${decision.why}`);
        return options.onFailure(sentence);
      }
      const { delayMs, tries } = decision;
      options.onNotice(`starting worker ${id} again in ${delayMs / 1000} s (try ${tries})`);
      slot.timer = setTimeout(() => {
        slot.timer = undefined;
        if (closing || !options.needs(id)) return;
        Object.assign(slot, spawnWorker(id, slot.index));
        attend(slot);
      }, delayMs);
    });
  };

  for (let started = 0; started < options.count; started++) startOne();
  return {
    add(count) {
      for (let started = 0; started < count && !closing; started++) startOne();
    },
    async lastWords(id) {
      const ended = slots.find((slot) => slot.id === id)?.ended;
      if (ended === undefined) return undefined;
      const patience = new AbortController();
      const tooLong = delay(LAST_WORDS_MS, undefined, { signal: patience.signal, ref: false }).catch(() => undefined);
      const ending = await Promise.race([ended, tooLong]).finally(() => patience.abort());
      return ending?.words;
    },
    async close(graceMs) {
      closing = true;
      slots.forEach(({ timer }) => clearTimeout(timer));
      const kill = setTimeout(() => slots.forEach(({ child }) => child.kill("SIGKILL")), graceMs);
      await Promise.all(slots.map(({ ended }) => ended));
      clearTimeout(kill);
    },
  };
}

/** Running, or about to run again. */
function isAlive({ child, timer }: Slot): boolean {
  return timer !== undefined || (child.exitCode === null && child.signalCode === null);
}

/** Resolves with how the process ended, and how it failed in words if it did. */
function exitOf(child: ChildProcess): Promise<Ending> {
  let own: string | undefined;
  let lastLine = "";
  const lines = createInterface({ input: child.stderr! });
  lines.on("line", (line) => {
    if (line.startsWith("ringtune worker: ")) own ??= line.slice("ringtune worker: ".length, 2000);
    if (line.trim() !== "") lastLine = line.slice(0, 2000);
  });
  return new Promise((resolve) => {
    child.once("error", (error) => {
      resolve({ code: null, signal: null, words: `could not be started: ${error.message}` });
    });
    child.once("close", (code, signal) => {
      if (code === 0) return resolve({ code, signal, words: undefined });
      const how = signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
      const why = own ?? lastLine;
      resolve({ code, signal, words: why === "" ? how : `${how}: ${why}` });
    });
  });
}
