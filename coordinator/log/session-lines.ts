// What of a worker's session is worth a line of the log, in words. Heartbeats, votes and what a worker does in every step are
// not: `ringtune status` shows them while they last.

import type { SessionEvent } from "../metrics.ts";
import type { Level } from "../../common/log-line.ts";

export interface SessionLine {
  readonly message: string;
  readonly level?: Level;
  readonly worker?: string;
}

export function lineOf(event: SessionEvent): SessionLine | undefined {
  switch (event.kind) {
    case "refused":
      return { level: "warn", message: "a worker was refused" };
    case "joined":
      return { worker: event.id, message: "joined" };
    case "left":
      return event.expected
        ? { worker: event.id, message: "left, as it was told to" }
        : { worker: event.id, level: "warn", message: "its session ended" };
    case "said":
      break;
  }
  const worker = event.id;
  const { message } = event;
  switch (message.kind) {
    case "formed": {
      const { generation, step, engine, notices } = message.value;
      const said = notices.length === 0 ? "" : `; ${notices.join("; ")}`;
      return {
        worker,
        message: `takes part in generation ${generation} with the weights of step ${step}, on ${engine}${said}`,
      };
    }
    case "prepared":
      return { worker, message: "is ready to take part" };
    case "leaving":
      return { worker, message: `wants to leave: ${message.value.reason}` };
    case "interrupted":
      return { worker, level: "warn", message: `step ${message.value.step} was interrupted: ${message.value.reason}` };
    case "failed":
      return { worker, level: "error", message: `can't go on: ${message.value.message}` };
    case "saved":
      return { worker, message: `wrote its part of the checkpoint of step ${message.value.step}` };
    default:
      return undefined;
  }
}
