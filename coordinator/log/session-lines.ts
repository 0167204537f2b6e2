// What of a worker's session is worth a line of the log, in words: who comes and goes, and what of its messages
// proto/worker-lines.ts says.

import type { SessionEvent } from "../metrics.ts";
import { lineOfMessage, type WorkerLine } from "../../proto/worker-lines.ts";

export interface SessionLine extends WorkerLine {
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
  const line = lineOfMessage(event.message);
  return line && { worker: event.id, ...line };
}
