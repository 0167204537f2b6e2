// metrics.jsonl: one RunRecord a line, appended as they come. A crash may tear the last line, never an earlier one; a disk that
// is full makes them wait in memory, and no line is torn or lost by it. What the records mean is not known here.

import { appendFile, open, readFile, type FileHandle } from "node:fs/promises";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import type { RunRecord } from "../../common/records.ts";
import { diskError } from "../../common/disk-error.ts";

export interface RecordLog {
  /**
   * Resolves when the record is with the operating system, or waits for a disk that does not take it now; records that come
   * meanwhile leave in one write. Rejects with `disk_failed` when more wait than memory is kept for.
   */
  append(record: RunRecord): Promise<void>;
  /** Resolves when everything appended so far has survived a power cut. Rejects with `disk_failed`, and loses nothing. */
  sync(): Promise<void>;
  /** Rejects with `disk_failed` when something could not be written, and says how many records are lost. */
  close(): Promise<void>;
}

/** Characters of the records that wait for the disk: some ten thousand steps. */
const maxWaiting = 4 << 20;

/**
 * `onWaiting` hears how many records wait whenever a write has failed, with the sentence why, and 0 when none do any more.
 * `permit` is asked before each write, which fails if it rejects.
 */
export async function openRecordLog(
  path: string,
  onWaiting: (records: number, why: string) => void = () => undefined,
  permit: () => Promise<void> = async () => undefined,
): Promise<RecordLog> {
  const file = await open(path, "a").catch((error: unknown) => {
    throw diskError(`can't open ${path}`, error);
  });
  /** Of the whole lines in the file. */
  let size = (await file.stat()).size;
  let waiting: string[] = [];
  let waitingChars = 0;
  let writing: Promise<void> | undefined;
  let failure: unknown;

  async function drain(): Promise<void> {
    try {
      await permit();
      // What a failed write has left of a line.
      if (failure !== undefined && (await file.stat()).size > size) await file.truncate(size);
      while (waiting.length > 0) {
        await permit();
        const count = waiting.length;
        const bytes = Buffer.from(waiting.join(""));
        await file.appendFile(bytes);
        size += bytes.length;
        waiting = waiting.slice(count);
        waitingChars = waiting.reduce((sum, line) => sum + line.length, 0);
      }
      if (failure !== undefined) onWaiting(0, "");
      failure = undefined;
    } catch (error) {
      failure = diskError(`can't write ${path}`, error);
      onWaiting(waiting.length, describeError(failure));
    } finally {
      writing = undefined;
    }
  }

  /** Never rejects. */
  async function tried(): Promise<void> {
    if (waiting.length > 0) writing ??= drain();
    await writing;
    // Came while that was written.
    if (waiting.length > 0 && failure === undefined) await tried();
  }

  async function written(): Promise<void> {
    await tried();
    if (failure !== undefined) throw failure as Error;
  }

  return {
    async append(record) {
      if (waitingChars > maxWaiting) {
        const why = failure === undefined ? "" : `: ${describeError(failure)}`;
        throw new RingtuneError(
          "disk_failed",
          `${waiting.length} records wait for the disk, and no more than ${maxWaiting} characters are kept${why}`,
        );
      }
      const line = `${JSON.stringify(record)}\n`;
      waiting.push(line);
      waitingChars += line.length;
      await tried();
    },
    async sync() {
      await written();
      await file.sync().catch((error: unknown) => {
        throw diskError(`can't write ${path}`, error);
      });
    },
    async close() {
      try {
        await tried();
        if (failure === undefined) return;
        throw new RingtuneError("disk_failed", `${describeError(failure)}; ${waiting.length} records are lost`);
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

/**
 * Adds those of `records`, the last ones of the run in order, that a crash kept from the file, and cuts a torn last line off.
 * With `anew` it is another file then, in one atomic rewrite: a coordinator that was stopped and superseded may still write
 * to the old one. Only the end is looked at: a run of a million steps is waited for, too.
 */
export async function completeRecordLog(path: string, records: readonly RunRecord[], anew = false): Promise<void> {
  const file = await open(path, "r+").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw diskError(`can't open ${path}`, error);
    return records.length === 0 ? undefined : open(path, "w+");
  });
  if (file === undefined) return;
  try {
    const { size } = await file.stat();
    const { text, end } = await readTail(file, size, records.length);
    const known = new Set((await parseTail(path, text)).map(nameOf));
    const missing = records.filter((record) => !known.has(nameOf(record)));
    const added = missing.map((record) => `${JSON.stringify(record)}\n`).join("");
    if (anew) return await writeFileAtomic(path, [await readBytes(file, 0, end), added]);
    if (end < size) await file.truncate(end);
    await appendFile(path, added);
    if (end < size || added !== "") await file.sync();
  } finally {
    await file.close();
  }
}

const TAIL_BYTES = 1 << 18;

/** The last whole lines of the file, `count` at least if it has so many, and where they end. */
async function readTail(file: FileHandle, size: number, count: number): Promise<{ text: string; end: number }> {
  for (let length = TAIL_BYTES; ; length *= 2) {
    const from = Math.max(0, size - length);
    const bytes = await readBytes(file, from, size);
    const begin = from === 0 ? 0 : bytes.indexOf("\n") + 1;
    const end = bytes.lastIndexOf("\n") + 1;
    const text = bytes.toString("utf8", begin, Math.max(begin, end));
    if (from === 0 || text.split("\n").length > count) return { text, end: from + end };
  }
}

async function readBytes(file: FileHandle, from: number, to: number): Promise<Buffer> {
  const bytes = Buffer.alloc(to - from);
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
    if (bytesRead === 0) return bytes.subarray(0, at);
    at += bytesRead;
  }
  return bytes;
}

async function parseTail(path: string, text: string): Promise<RunRecord[]> {
  const lines = text.split("\n").slice(0, -1);
  const records = lines.map(parseRecord);
  // Says which line it is.
  if (records.includes(undefined)) await readRecordLog(path);
  return records.filter((record) => record !== undefined);
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
