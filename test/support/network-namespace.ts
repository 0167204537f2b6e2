// A second host for a test: a network namespace with an address of its own, joined to this one by a cable. For root on Linux.

import { spawnSync } from "node:child_process";
import { onTestFinished } from "vitest";

export interface OtherHost {
  /** Of this host, as the other one calls it, and the other way round. */
  readonly here: string;
  readonly there: string;
  /** What a command is put behind to run there. */
  readonly prefix: readonly string[];
}

/** Why there can't be one here, or undefined. */
export const noOtherHost: string | undefined = reason();

/** Gone at the end of the test. */
export function createOtherHost(): OtherHost {
  const name = `ringtune-${process.pid}`;
  const [near, far] = [`rt${process.pid}n`, `rt${process.pid}f`].map((link) => link.slice(-15));
  const third = process.pid % 250;
  const [here, there] = [`10.231.${third}.1`, `10.231.${third}.2`];
  onTestFinished(() => void spawnSync("ip", ["netns", "del", name]));
  for (const args of [
    ["netns", "add", name],
    ["link", "add", "name", near!, "type", "veth", "peer", "name", far!, "netns", name],
    ["addr", "add", `${here}/30`, "dev", near!],
    ["link", "set", near!, "up"],
    ["-n", name, "addr", "add", `${there}/30`, "dev", far!],
    ["-n", name, "link", "set", far!, "up"],
    ["-n", name, "link", "set", "lo", "up"],
  ]) {
    const { status, stderr } = spawnSync("ip", args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  }
  return { here, there, prefix: ["ip", "netns", "exec", name] };
}

function reason(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "it takes root on Linux";
  const probe = `ringtune-probe-${process.pid}`;
  const { status, error } = spawnSync("ip", ["netns", "add", probe]);
  if (error !== undefined || status !== 0) return "ip netns add fails here (iproute2, CAP_SYS_ADMIN)";
  const link = spawnSync("ip", [
    "-n",
    probe,
    "link",
    "add",
    "name",
    "probe0",
    "type",
    "veth",
    "peer",
    "name",
    "probe1",
  ]);
  spawnSync("ip", ["netns", "del", probe]);
  return link.status === 0 ? undefined : "the kernel has no veth";
}
