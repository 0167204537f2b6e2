// Two hosts on a slow cable, with as many ranks on each as are asked for: this host, and a network namespace. With a delay, a
// proxy stands before each rank (delay-proxy.ts), on the rank's own host.

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Place } from "../../worker/bench/all-reduce.ts";
import type { Standing, Target } from "./delay-proxy.ts";
import { openOtherHost } from "./network-namespace.ts";

export interface LongCable {
  /** Of ranks, by turns on both hosts. */
  readonly places: readonly Place[];
  /** Bytes that this host has put on the cable so far, headers and all. */
  sentBytes(): number;
  close(): void;
}

/** `proxy` is delay-proxy.js, compiled. */
export async function openLongCable(
  proxy: URL,
  { rate, delayMs, ranksPerHost }: { rate: string; delayMs: number; ranksPerHost: number },
): Promise<LongCable> {
  const { here, there, prefix, device, close } = openOtherHost({ rate });
  const hosts = [
    { host: here, prefix: [] },
    { host: there, prefix },
  ];
  const proxies = delayMs === 0 ? [] : hosts.map((each) => startProxy(proxy, each.prefix, delayMs));
  await Promise.all(proxies.map((child) => once(child, "message")));
  const places = Array.from({ length: 2 * ranksPerHost }, (_, rank): Place => {
    const side = rank % 2;
    const { host } = hosts[side]!;
    const through = proxies[side];
    return { ...hosts[side]!, ...(through && { reachedBy: (address) => standBefore(through, host, address) }) };
  });
  return {
    places,
    sentBytes: () => Number(readFileSync(`/sys/class/net/${device}/statistics/tx_bytes`, "utf8")),
    close() {
      for (const child of proxies) child.kill();
      close();
    },
  };
}

function startProxy(script: URL, prefix: readonly string[], delayMs: number): ChildProcess {
  const [command = process.execPath, ...rest] = [...prefix, process.execPath];
  return fork(fileURLToPath(script), [String(delayMs)], { execPath: command, execArgv: rest });
}

/** The address by way of the proxy. */
function standBefore(proxy: ChildProcess, host: string, address: string): Promise<string> {
  const own = Number(/:(\d+)(?=;|$)/.exec(address)?.[1]);
  proxy.send({ host, port: own } satisfies Target);
  return new Promise((resolve) => {
    proxy.on("message", (standing: Standing) => {
      if (standing.before === own) resolve(address.replace(`:${own}`, `:${standing.port}`));
    });
  });
}
