// What another process uses, from Linux' /proc: processor time, memory, bytes read and written. Elsewhere there is none.

import { readFile } from "node:fs/promises";

export interface Usage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  /** Through system calls, sockets included. */
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** /proc counts in these, on every Linux of today. */
const TICKS_PER_SECOND = 100;

/** Rejects when there is no such process, or no /proc. */
export async function readUsage(pid: number): Promise<Usage> {
  const [stat, status, io] = await Promise.all(
    ["stat", "status", "io"].map((name) => readFile(`/proc/${pid}/${name}`, "utf8")),
  );
  // The second field is a name in brackets, which may hold anything.
  const fields = stat!.slice(stat!.lastIndexOf(")") + 2).split(" ");
  const field = (text: string, name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    residentBytes: field(status!, "VmRSS") * 1024,
    readBytes: field(io!, "rchar"),
    writtenBytes: field(io!, "wchar"),
  };
}
