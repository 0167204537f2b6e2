// Follows metrics.jsonl of a run that is going on: whoever waits for a committed step hears of it within a few milliseconds.
// It also notices what must never happen: a step that is committed a second time.

import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { RunRecord, StepRecord } from "../../common/records.ts";

export interface Follower {
  /** The last committed step, if there is one. */
  readonly last: StepRecord | undefined;
  /** All so far, in the order in which they came. */
  readonly steps: readonly StepRecord[];
  /** Steps that were recorded again, with other contents. */
  readonly repeated: readonly number[];
  /** Resolves with the first record, of those there and those to come, for which this holds. Rejects when `signal` aborts. */
  when(holds: (record: StepRecord) => boolean, signal: AbortSignal): Promise<StepRecord>;
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 5;

export function followRecords(path: string): Follower {
  const stopped = new AbortController();
  const lines = new Map<number, string>();
  const steps: StepRecord[] = [];
  const repeated: number[] = [];
  const watchers = new Set<() => void>();
  const reading = follow(path, stopped.signal, (record, line) => {
    if (record.kind !== "step") return;
    // The file is read again when a coordinator that came back has cut a torn line off.
    if (lines.get(record.step) === line) return;
    if (lines.has(record.step)) repeated.push(record.step);
    lines.set(record.step, line);
    steps.push(record);
    for (const look of [...watchers]) look();
  });
  return {
    steps,
    repeated,
    get last() {
      return steps.at(-1);
    },
    when: (holds, signal) =>
      new Promise((resolve, reject) => {
        let seen = 0;
        const stop = (): void => {
          watchers.delete(look);
          signal.removeEventListener("abort", abort);
        };
        const abort = (): void => {
          stop();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort is the caller's
          reject(signal.reason);
        };
        const look = (): void => {
          const found = steps.findIndex((record, index) => index >= seen && holds(record));
          seen = steps.length;
          if (found < 0) return;
          stop();
          resolve(steps[found]!);
        };
        if (signal.aborted) return abort();
        signal.addEventListener("abort", abort, { once: true });
        watchers.add(look);
        look();
      }),
    async close() {
      stopped.abort();
      await reading;
    },
  };
}

/** Calls back for each whole line. A file that was cut is another file, and is read again from its beginning. */
async function follow(
  path: string,
  signal: AbortSignal,
  onRecord: (record: RunRecord, line: string) => void,
): Promise<void> {
  let offset = 0;
  let rest = "";
  let known: number | undefined;
  while (!signal.aborted) {
    const { inode, chunk } = await readFrom(path, known, offset);
    if (inode !== known) rest = "";
    offset = (inode === known ? offset : 0) + chunk.length;
    known = inode;
    const lines = (rest + chunk.toString("utf8")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onRecord(JSON.parse(line) as RunRecord, line);
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** What follows `offset`, or all of it in another file than `known`; nothing as long as there is none. */
async function readFrom(
  path: string,
  known: number | undefined,
  offset: number,
): Promise<{ inode: number | undefined; chunk: Buffer }> {
  const file = await open(path, "r").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  if (file === undefined) return { inode: undefined, chunk: Buffer.alloc(0) };
  try {
    const { size, ino } = await file.stat();
    const start = ino === known ? offset : 0;
    const buffer = Buffer.alloc(Math.max(0, size - start));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
    return { inode: ino, chunk: buffer.subarray(0, bytesRead) };
  } finally {
    await file.close();
  }
}
