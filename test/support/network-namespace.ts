// A second host for a test: a network namespace with an address of its own, joined to this one by a cable. For root on Linux.

import { spawnSync } from "node:child_process";

export interface OtherHost {
  /** Of this host, as the other one calls it, and the other way round. */
  readonly here: string;
  readonly there: string;
  /** What a command is put behind to run there. */
  readonly prefix: readonly string[];
  /** This host's end of the cable. */
  readonly device: string;
  readonly close: () => void;
}

/** Why there can't be one here, or undefined. */
export const noOtherHost: string | undefined = reason();

/** Why its cable can't be slowed down, or undefined. */
export const noSlowCable: string | undefined =
  noOtherHost ?? (spawnSync("tc", ["-V"]).status === 0 ? undefined : "tc is not installed (iproute2)");

export interface Cable {
  /** Of the cable, each way, as tc names it: "1gbit". As fast as memory unless it is said. */
  readonly rate?: string;
}

/** It is there until it is closed. */
export function openOtherHost({ rate }: Cable = {}): OtherHost {
  const name = `ringtune-${process.pid}`;
  const [near, far] = [`rt${process.pid}n`, `rt${process.pid}f`].map((link) => link.slice(-15));
  const third = process.pid % 250;
  const [here, there] = [`10.231.${third}.1`, `10.231.${third}.2`];
  const close = (): void => {
    spawnSync("ip", ["link", "del", near!]); // at once, where the namespace waits for its last process
    spawnSync("ip", ["netns", "del", name]);
  };
  // A burst holds the largest packet that a virtual cable passes, and the queue what TCP may have under way.
  const shaper = ["root", "tbf", "rate", rate ?? "", "burst", "256kb", "limit", "16mb"];
  const steps: (readonly [string, ...string[]])[] = [
    ["ip", "netns", "add", name],
    ["ip", "link", "add", "name", near!, "type", "veth", "peer", "name", far!, "netns", name],
    ["ip", "addr", "add", `${here}/30`, "dev", near!],
    ["ip", "link", "set", near!, "up"],
    ["ip", "-n", name, "addr", "add", `${there}/30`, "dev", far!],
    ["ip", "-n", name, "link", "set", far!, "up"],
    ["ip", "-n", name, "link", "set", "lo", "up"],
    ...(rate === undefined
      ? []
      : ([
          ["tc", "qdisc", "add", "dev", near!, ...shaper],
          ["tc", "-n", name, "qdisc", "add", "dev", far!, ...shaper],
        ] as const)),
  ];
  for (const [command, ...args] of steps) {
    const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
    if (status === 0) continue;
    close();
    throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  }
  return { here, there, prefix: ["ip", "netns", "exec", name], device: near!, close };
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
