// Which hosts, and how many workers on each: `--hosts a,b:8`, or a file as MPI has them. What is on them is not known here.

import { RingtuneError } from "../../common/errors.ts";

export interface HostEntry {
  /** As ssh takes it: "gpu1", "alice@gpu1", "10.0.0.5", an alias of ssh's own configuration. */
  readonly host: string;
  /** Workers to start; undefined is one for each device. */
  readonly slots: number | undefined;
}

/** Most workers of a host. */
const MAX_SLOTS = 1024;

/** "a,b:8,[fe80::1]:4". Throws `usage` for what is none. */
export function parseHosts(text: string): HostEntry[] {
  return text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "")
    .map((entry) => parseEntry(entry, "--hosts"));
}

/** A host in each line: `name`, `name:8` or `name slots=8`; `#` begins a comment. Throws `usage`, with the line. */
export function parseHostFile(text: string, path: string): HostEntry[] {
  return text.split("\n").flatMap((line, index) => {
    const entry = line.replace(/#.*/, "").trim();
    if (entry === "") return [];
    return [parseEntry(entry.replace(/\s+slots\s*=\s*/, ":"), `${path} line ${index + 1}`)];
  });
}

/** With `slots` for those that do not say how many. Throws `usage` when there is no host, or one twice. */
export function completeHosts(entries: readonly HostEntry[], slots: number | undefined): HostEntry[] {
  if (entries.length === 0) throw new RingtuneError("usage", "name at least one host: --hosts a,b or --hostfile FILE");
  const names = entries.map(({ host }) => host);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new RingtuneError("usage", `host ${twice} is named twice; name it once with the sum, such as ${twice}:8`);
  }
  return entries.map((entry) => ({ host: entry.host, slots: entry.slots ?? slots }));
}

function parseEntry(entry: string, where: string): HostEntry {
  const [, bracketed, plain, count] = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:[\]]+))(?::(\d+))?$/.exec(entry) ?? [];
  const host = bracketed ?? plain;
  // What begins with a dash would be an option of ssh.
  if (host === undefined || !/^[\w@%.:+-]+$/.test(host) || host.startsWith("-")) {
    const form = "a host is a name or address, with its workers behind a colon: gpu1, alice@gpu1:8, [fe80::1]:8";
    throw new RingtuneError("usage", `${where}: ${JSON.stringify(entry)} is no host; ${form}`);
  }
  const slots = count === undefined ? undefined : Number(count);
  if (slots !== undefined && !(slots >= 1 && slots <= MAX_SLOTS)) {
    throw new RingtuneError("usage", `${where}: ${host} can't have ${count} workers; give 1 to ${MAX_SLOTS}`);
  }
  return { host, slots };
}
