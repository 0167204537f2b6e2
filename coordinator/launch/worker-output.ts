// What a worker process prints, read by whoever started it: its own lines, those of libraries that it uses, and the last words
// of one that fails. As many as a log can bear.

import type { Readable } from "node:stream";
import { logLineSchema, type Level } from "../../common/log-line.ts";
import { eachLine, parseLine } from "./orders.ts";

export interface OutputLine {
  readonly level: Level;
  readonly message: string;
}

/** So many lines of a worker are passed on in a window of time; of the others their number. */
const MAX_LINES = 50;
const WINDOW_MS = 10_000;
const MAX_CHARACTERS = 2000;
const prefix = "ringtune worker: ";

export interface WorkerOutput {
  /** Why it failed, in its own words or those of whatever spoke last on its standard error; "" for nothing. */
  lastWords(): string;
}

/** Calls back with the lines that the coordinator does not know from the worker's messages. */
export function readOutput(
  stdout: Readable,
  stderr: Readable,
  onLine: (line: OutputLine) => void,
  nowMs: () => number = () => performance.now(),
): WorkerOutput {
  let own: string | undefined;
  let last = "";
  let window = { sinceMs: nowMs(), lines: 0, left: 0 };
  const pass = (line: OutputLine): void => {
    if (nowMs() - window.sinceMs > WINDOW_MS) {
      if (window.left > 0) onLine({ level: "warn", message: `said ${window.left} lines more, which are left out` });
      window = { sinceMs: nowMs(), lines: 0, left: 0 };
    }
    window.lines += 1;
    if (window.lines <= MAX_LINES) onLine({ ...line, message: line.message.slice(0, MAX_CHARACTERS) });
    else window.left += 1;
  };
  eachLine(stdout, (text) => {
    const line = parseLine(logLineSchema, text);
    if (line?.told === true || text.trim() === "") return;
    pass(line === undefined ? { level: "info", message: text } : { level: line.level, message: line.message });
  });
  eachLine(stderr, (text) => {
    if (text.trim() === "") return;
    last = text.slice(0, MAX_CHARACTERS);
    if (text.startsWith(prefix)) own ??= text.slice(prefix.length, MAX_CHARACTERS);
    // Its last words are told as such.
    else pass({ level: "warn", message: text });
  });
  return { lastWords: () => own ?? last };
}
