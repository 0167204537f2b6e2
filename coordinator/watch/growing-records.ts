// The records of a run that goes on: each look reads only what has been added to metrics.jsonl since the last one.

import { open } from "node:fs/promises";
import type { RunRecord } from "../../common/records.ts";

/** Gives all records so far. A resumed run's file may have been cut, which makes it another file: then it is read anew. */
export function growingRecords(path: string): () => Promise<readonly RunRecord[]> {
  let records: RunRecord[] = [];
  let position = 0;
  let known: number | undefined;
  return async () => {
    const file = await open(path).catch(() => undefined);
    if (file === undefined) return [];
    try {
      const { size, ino } = await file.stat();
      if (size < position || ino !== known) [records, position, known] = [[], 0, ino];
      const bytes = Buffer.alloc(size - position);
      await file.read(bytes, 0, bytes.length, position);
      const whole = bytes.lastIndexOf(0x0a) + 1;
      const lines = bytes.toString("utf8", 0, whole).split("\n");
      for (const line of lines) if (line !== "") records.push(JSON.parse(line) as RunRecord);
      position += whole;
      return records;
    } finally {
      await file.close();
    }
  };
}
