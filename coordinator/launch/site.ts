// Where worker processes run: this host (here.ts), or another one over ssh (remote-host.ts). A site starts and kills
// processes and says how they ended; whether one is started again is decided by supervise.ts, the same for all sites.

import type { Secrets } from "../../common/secrets.ts";
import type { Exit } from "./restarts.ts";
import type { OutputLine } from "./worker-output.ts";

export interface WorkerOrder {
  /** Name of the worker. */
  readonly id: string;
  /** Of its device in this site; more than there are share them in turn. */
  readonly index: number;
  /** Arguments of `ringtune worker`, none of them secret. */
  readonly arguments: readonly string[];
  readonly secrets: Secrets;
  /** It says something that is in none of its messages to the coordinator. */
  readonly onLine: (line: OutputLine) => void;
}

export interface Ending extends Exit {
  /** How it failed, in words; undefined if it did not. */
  readonly words: string | undefined;
  /** Nothing is heard of its host any more; it may be about to leave by itself. */
  readonly isLost?: true;
}

export interface WorkerProcess {
  /** Undefined as long as it has none. */
  readonly pid: () => number | undefined;
  readonly ended: Promise<Ending>;
  /** SIGTERM lets it finish its step, SIGKILL ends it at once. */
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

export interface Site {
  /** Of another host, as the user named it. */
  readonly host?: string;
  /** How many workers it has devices for. */
  readonly slots: number;
  /** host:port by which its workers call a coordinator that listens at `host`. */
  readonly callAt: (host: string, port: number) => string;
  start(order: WorkerOrder): WorkerProcess;
  /** Nothing is started any more. Resolves when the site can be left. */
  close(): Promise<void>;
}

/** As sentences name a process: "pid 12", "host b, pid 12". */
export function whereIs({ host }: Pick<Site, "host">, { pid }: Pick<WorkerProcess, "pid">): string {
  const parts = [...(host === undefined ? [] : [`host ${host}`]), ...(pid() === undefined ? [] : [`pid ${pid()}`])];
  return parts.length === 0 ? "not started" : parts.join(", ");
}

/** How an exit is told, with the last words of the process if it had any. */
export function describeExit({ code, signal }: Exit, lastWords: string): Ending {
  if (code === 0) return { code, signal, words: undefined };
  const how = signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
  return { code, signal, words: lastWords === "" ? how : `${how}: ${lastWords}` };
}
