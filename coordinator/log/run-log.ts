// The log of a run, log.jsonl in its directory: decisions, notices, and what workers come, say and go with. Losses and speeds
// are not in it, metrics.jsonl has them. A log that can't be written is no reason to stop: it goes on when the disk does.

import { appendFile, rename, stat } from "node:fs/promises";
import type { SessionEvent } from "../metrics.ts";
import type { Level, LogLine, Place } from "../../common/log-line.ts";
import { lineOf } from "./session-lines.ts";

export const logFile = "log.jsonl";
/** The lines before those of `log.jsonl`. */
export const olderLogFile = "log.1.jsonl";

/** Of one file; then it becomes the older one. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Lines that wait for the disk; older ones are dropped first. */
const MAX_WAITING = 10_000;

export interface RunLog {
  /** Asked for every line from now on. */
  locate(place: () => Place): void;
  write(message: string, about?: { readonly level?: Level; readonly worker?: string }): void;
  /** What a worker did, where that is worth a line. */
  observe(event: SessionEvent): void;
  /** Resolves when what was written so far is on disk, or can't be. */
  close(): Promise<void>;
}

export function openRunLog(options: {
  readonly job: string;
  /** Of a file in the run directory. */
  readonly pathOf: (name: string) => string;
  /** Asked before each write; nothing is written as long as it rejects. */
  readonly permit?: () => Promise<void>;
}): RunLog {
  const { job, pathOf, permit = async () => undefined } = options;
  let place = (): Place => ({ generation: 0, step: 0, rankOf: () => undefined });
  let waiting: string[] = [];
  let dropped = 0;
  let writing: Promise<void> | undefined;

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const lines = waiting;
      waiting = [];
      try {
        await permit();
        const size = await stat(pathOf(logFile)).then(
          (file) => file.size,
          () => 0,
        );
        if (size > MAX_BYTES) await rename(pathOf(logFile), pathOf(olderLogFile));
        await appendFile(pathOf(logFile), lines.join(""));
      } catch {
        // Kept for the next line, which may find the disk as it should be.
        waiting = [...lines, ...waiting];
        dropped += Math.max(0, waiting.length - MAX_WAITING);
        waiting = waiting.slice(-MAX_WAITING);
        return;
      }
    }
  }

  function write(message: string, { level = "info", worker }: Parameters<RunLog["write"]>[1] = {}): void {
    const here = place();
    const { generation, step } = here;
    const rank = worker === undefined ? undefined : here.rankOf(worker);
    const note = dropped === 0 ? "" : ` (${dropped} lines before this could not be written)`;
    dropped = 0;
    const line: LogLine = {
      time: new Date().toISOString(),
      ...{ level, job, generation, step },
      ...(worker === undefined ? {} : { worker }),
      ...(rank === undefined ? {} : { rank }),
      message: message + note,
    };
    waiting.push(`${JSON.stringify(line)}\n`);
    writing ??= flush().finally(() => (writing = undefined));
  }

  return {
    locate(now) {
      place = now;
    },
    write,
    observe(event) {
      const line = lineOf(event);
      if (line !== undefined) write(line.message, line);
    },
    async close() {
      await writing;
      await flush();
    },
  };
}
