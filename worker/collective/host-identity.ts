// Which host this process is on, for ranks to find out whether they can share memory and local sockets. A name is not enough:
// two hosts may have the same, and two containers of one host can't see each other's processes or sockets. So it is made of
// the machine, its boot, the user, and the namespaces of processes and of the network.

import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname, userInfo } from "node:os";

/** 16 hexadecimal digits, equal for processes that can reach each other inside a host. */
export function hostIdentity(): string {
  const facts = [
    attempt(() => readFileSync("/etc/machine-id", "utf8").trim()) ?? hostname(),
    attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
    attempt(() => String(userInfo().uid)),
    attempt(() => readlinkSync("/proc/self/ns/pid")),
    attempt(() => readlinkSync("/proc/self/ns/net")),
  ];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex").slice(0, 16);
}

function attempt(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
