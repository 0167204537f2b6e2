// A program in place of ssh, as far as `ringtune launch` sees it: it runs the command under sh on this machine, as another
// host would. What it does for a host that is out of order is a shell script for its name.

import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./cli.ts";

export interface FakeSsh {
  /** The program, to be called with ssh's arguments. */
  readonly path: string;
  /** Arguments of every call so far, a call in each element. */
  calls(): Promise<string[][]>;
  /** Process ids of the calls for a host: each becomes the program that the command runs. */
  pidsOf(host: string): Promise<number[]>;
}

/**
 * `unfit`: scripts by the name of a host. In a script `$command` is the command that ssh was to run; what follows runs it.
 * To each host the caller seems to have the address 127.0.0.1.
 */
export async function fakeSsh(unfit: Readonly<Record<string, string>> = {}): Promise<FakeSsh> {
  const folder = await temporaryFolder();
  const [path, calls, pids] = ["ssh", "calls", "pids"].map((name) => join(folder, name)) as [string, string, string];
  const cases = Object.entries(unfit).map(([host, script]) => `${host})\n${script}\n;;`);
  await writeFile(calls, "");
  await writeFile(pids, "");
  const lines = [
    "#!/bin/sh",
    `{ printf '%s\\0' "$@"; printf '\\1'; } >> ${calls}`,
    "while [ $# -gt 2 ]; do shift; done; host=$1; command=$2",
    `echo "$$ $host" >> ${pids}`,
    "export SSH_CONNECTION='127.0.0.1 50000 127.0.0.1 22'",
    `case $host in\n${cases.join("\n")}\nesac`,
    'exec sh -c "$command"',
  ];
  await writeFile(path, `${lines.join("\n")}\n`);
  await chmod(path, 0o755);
  return {
    path,
    async calls() {
      const text = await readFile(calls, "utf8");
      return text
        .split("\u0001")
        .slice(0, -1)
        .map((call) => call.split("\0").slice(0, -1));
    },
    async pidsOf(host) {
      const text = await readFile(pids, "utf8");
      const rows = text
        .trim()
        .split("\n")
        .map((line) => line.split(" "));
      return rows.filter(([, name]) => name === host).map(([pid]) => Number(pid));
    },
  };
}
