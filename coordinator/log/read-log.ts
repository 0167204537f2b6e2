// Reads the log of a run, to its end or for as long as it grows.

import { createReadStream, existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../common/errors.ts";
import { logLineSchema, type LogLine } from "../../common/log-line.ts";
import { logFile, olderLogFile } from "./run-log.ts";

const LOOK_EVERY_MS = 250;

/** Throws `run_missing` when there is no log. A line that is no line of a log, as a crash may leave, is left out. */
export async function* readLog(run: string, follow: AbortSignal | undefined): AsyncGenerator<LogLine> {
  const path = join(run, logFile);
  if (!existsSync(path)) throw new RingtuneError("run_missing", `${path} does not exist; has this run begun?`);
  const older = join(run, olderLogFile);
  if (existsSync(older)) yield* linesFrom(older, 0);
  let { ino } = await stat(path);
  let position = 0;
  for (;;) {
    const now = await stat(path).catch(() => undefined);
    if (now !== undefined && now.ino !== ino) {
      // The file was put aside; what was not read of it is in the older one.
      yield* linesFrom(older, position);
      ({ ino } = now);
      position = 0;
    }
    if (now !== undefined && now.size > position) {
      yield* linesFrom(path, position, now.size);
      position = now.size;
    }
    if (follow === undefined || follow.aborted) return;
    await delay(LOOK_EVERY_MS, undefined, { signal: follow }).catch(() => undefined);
  }
}

/** Lines of the bytes from `start` up to `end`; the writer appends whole lines. */
async function* linesFrom(path: string, start: number, end?: number): AsyncGenerator<LogLine> {
  const input = createReadStream(path, { start, encoding: "utf8", ...(end === undefined ? {} : { end: end - 1 }) });
  for await (const text of createInterface({ input, crlfDelay: Infinity })) {
    const line = logLineSchema.safeParse(parse(text));
    if (line.success) yield line.data;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
