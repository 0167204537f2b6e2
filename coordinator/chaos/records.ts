// Follows metrics.jsonl of a run that is going on: whoever waits for a committed step hears of it within a few milliseconds.
// It also notices what must never happen: a step that is committed a second time.

import { setTimeout as delay } from "node:timers/promises";
import type { RunRecord, StepRecord } from "../../common/records.ts";
import { growingRecords } from "../watch/growing-records.ts";

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
  const reading = follow(path, stopped.signal, (record) => {
    if (record.kind !== "step") return;
    // The file is read again when a coordinator that came back has cut a torn line off.
    const line = JSON.stringify(record);
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

/** Calls back for each record; for all of them again when the file was cut. */
async function follow(path: string, signal: AbortSignal, onRecord: (record: RunRecord) => void): Promise<void> {
  const look = growingRecords(path);
  let records: readonly RunRecord[] = [];
  let seen = 0;
  while (!signal.aborted) {
    const now = await look();
    if (now !== records) [records, seen] = [now, 0];
    for (; seen < records.length; seen++) onRecord(records[seen]!);
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
