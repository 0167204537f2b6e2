// metrics.jsonl: one RunRecord a line, appended as they come. A crash may tear the last line, never an earlier one.
// What the records mean is not known here.

import { open, readFile } from "node:fs/promises";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { RunRecord } from "../../common/records.ts";
import { diskError } from "../../common/disk-error.ts";

export interface RecordLog {
  /**
   * Resolves when the record is with the operating system; records that come meanwhile leave in one write.
   * After a failed write every call rejects with `disk_failed`.
   */
  append(record: RunRecord): Promise<void>;
  /** Resolves when everything appended so far has survived a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Waiting characters; a caller that does not await `append` is stopped here. */
const maxWaiting = 4 << 20;

export async function openRecordLog(path: string): Promise<RecordLog> {
  const file = await open(path, "a").catch((error: unknown) => {
    throw diskError(`can't open ${path}`, error);
  });
  let waiting = "";
  let writing: Promise<void> | undefined;
  let failure: unknown;

  async function drain(): Promise<void> {
    try {
      while (waiting !== "") {
        const lines = waiting;
        waiting = "";
        await file.appendFile(lines);
      }
    } catch (error) {
      failure = diskError(`can't write ${path}`, error);
    } finally {
      writing = undefined;
    }
  }

  async function written(): Promise<void> {
    if (failure === undefined && waiting !== "") writing ??= drain();
    await writing;
    if (failure !== undefined) throw failure as Error;
  }

  return {
    async append(record) {
      if (failure !== undefined) throw failure as Error;
      if (waiting.length > maxWaiting) {
        throw new RingtuneError("disk_failed", `can't write ${path}: ${waiting.length} characters wait for the disk`);
      }
      waiting += `${JSON.stringify(record)}\n`;
      await written();
    },
    async sync() {
      await written();
      await file.sync().catch((error: unknown) => {
        throw diskError(`can't write ${path}`, error);
      });
    },
    async close() {
      try {
        await written();
      } finally {
        await file.close();
      }
    },
  };
}

/** All whole records of the file, in order; a torn last line is left out, a missing file has none. */
export async function readRecordLog(path: string): Promise<RunRecord[]> {
  return parseLines(path, await readText(path)).map(({ record }) => record);
}

/** Adds those of `records`, in order, that a crash kept from the file, and cuts a torn last line off, in one atomic rewrite. */
export async function completeRecordLog(path: string, records: readonly RunRecord[]): Promise<void> {
  const text = await readText(path);
  const present = parseLines(path, text);
  const known = new Set(present.map(({ record }) => nameOf(record)));
  const missing = records.filter((record) => !known.has(nameOf(record))).map((record) => JSON.stringify(record));
  const whole = [...present.map(({ line }) => line), ...missing].map((line) => `${line}\n`).join("");
  if (whole !== text) await writeFileAtomic(path, whole);
}

function nameOf({ kind, step }: RunRecord): string {
  return `${kind} ${step}`;
}

/** Cuts the records of steps after `step` off, and a torn last line, in one atomic rewrite. */
export async function truncateRecordLog(path: string, step: number): Promise<void> {
  const text = await readText(path);
  const kept = parseLines(path, text)
    .filter(({ record }) => record.step <= step)
    .map(({ line }) => `${line}\n`)
    .join("");
  if (kept !== text) await writeFileAtomic(path, kept);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw diskError(`can't read ${path}`, error);
  }
}

function parseLines(path: string, text: string): { line: string; record: RunRecord }[] {
  const lines = text.split("\n");
  // What follows the last line break is nothing, or a line that was torn.
  lines.pop();
  return lines.map((line, i) => {
    const record = parseRecord(line);
    if (record) return { line, record };
    throw new RingtuneError(
      "checkpoint_invalid",
      `${path}:${i + 1} is not a record of a run; the file was damaged, remove the line to go on`,
      { details: { path, line: i + 1 } },
    );
  });
}

function parseRecord(line: string): RunRecord | undefined {
  try {
    const record = JSON.parse(line) as Partial<RunRecord> | null;
    const known = record?.kind === "step" || record?.kind === "validation";
    if (!known || !Number.isInteger(record.step)) return undefined;
    // JSON has no Infinity: a perplexity that is null there was too large for a number.
    const isHuge = record.kind === "validation" && (record.perplexity as unknown) === null;
    return (isHuge ? { ...record, perplexity: Infinity } : record) as RunRecord;
  } catch {
    return undefined;
  }
}
