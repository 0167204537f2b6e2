// What of a worker's messages is worth a line of a log, in words: the coordinator writes it when it hears them, the worker when
// it says them. Heartbeats, votes and what a worker does in every step are not: `ringtune status` shows them while they last.

import type { Level } from "../common/log-line.ts";
import type { FromWorker } from "./messages.ts";

export interface WorkerLine {
  readonly message: string;
  readonly level?: Level;
}

export function lineOfMessage(message: FromWorker): WorkerLine | undefined {
  switch (message.kind) {
    case "formed": {
      const { generation, step, engine, notices } = message.value;
      const said = notices.length === 0 ? "" : `; ${notices.join("; ")}`;
      return {
        message: `takes part in generation ${generation} with the weights of step ${step}, on ${engine}${said}`,
      };
    }
    case "prepared":
      return { message: "is ready to take part" };
    case "leaving":
      return { message: `wants to leave: ${message.value.reason}` };
    case "interrupted":
      return { level: "warn", message: `step ${message.value.step} was interrupted: ${message.value.reason}` };
    case "failed":
      return { level: "error", message: `can't go on: ${message.value.message}` };
    case "saved":
      return { message: `wrote its part of the checkpoint of step ${message.value.step}` };
    default:
      return undefined;
  }
}
