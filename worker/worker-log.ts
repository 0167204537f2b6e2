// What a worker says of itself, a line each: JSON for programs that collect the output of many processes, text for people. Every
// line says in which run, generation and step it was. What ends a worker with an error is on its standard error.

import { formatLine, type Level, type LogLine } from "../common/log-line.ts";
import { lineOfMessage } from "../proto/worker-lines.ts";
import type { Sendable } from "./control/thread.ts";

/** Where in the run this worker is. */
export interface Whereabouts {
  readonly job?: string;
  readonly worker?: string;
  readonly generation?: number;
  /** Optimizer steps in its weights. */
  readonly step?: number;
  /** Undefined while it is in no generation. */
  readonly rank?: number | undefined;
}

export interface WorkerLog {
  /** From now on. */
  locate(change: Whereabouts): void;
  /** `told`: the coordinator knows. */
  write(message: string, about?: { readonly level?: Level; readonly told?: true }): void;
  /** A message to the coordinator: a line of it, where it is worth one, and where this worker is now. */
  sent(message: Sendable): void;
}

export function createWorkerLog(options: {
  readonly worker: string;
  readonly form: "text" | "json";
  readonly stream: { write(text: string): unknown };
  readonly nowMs?: () => number;
}): WorkerLog {
  const { form, stream, nowMs = Date.now } = options;
  let where: Whereabouts = { worker: options.worker };

  function write(message: string, { level = "info", told }: Parameters<WorkerLog["write"]>[1] = {}): void {
    const { job = "", worker, generation = 0, step = 0, rank } = where;
    const line: LogLine = {
      time: new Date(nowMs()).toISOString(),
      ...{ level, job, generation, step },
      ...(worker === undefined ? {} : { worker }),
      ...(rank === undefined ? {} : { rank }),
      message,
      ...(told === undefined ? {} : { told }),
    };
    stream.write(`${form === "json" ? JSON.stringify(line) : formatLine(line)}\n`);
  }

  return {
    locate(change) {
      where = { ...where, ...change };
    },
    write,
    sent(message) {
      if (message.kind === "formed") {
        const { generation, step } = message.value;
        where = { ...where, generation, step };
      }
      if (message.kind === "applied") where = { ...where, step: message.value.step };
      // The error that ends a worker is printed as one.
      const line = message.kind === "failed" ? undefined : lineOfMessage(message);
      if (line !== undefined) write(line.message, { ...line, told: true });
    },
  };
}
