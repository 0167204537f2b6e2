// A real etcd (Debian's package etcd-server), one member or several, for a test.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";

export const hasEtcd = spawnSync("etcd", ["--version"]).status === 0;

export interface EtcdMember {
  /** "http://127.0.0.1:43210" */
  readonly endpoint: string;
  readonly child: ChildProcess;
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  stop(): Promise<void>;
}

/** Starts `count` members; resolves when they answer. `args` are given to each. */
export async function startEtcd(count = 1, args: readonly string[] = []): Promise<EtcdCluster> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-etcd-"));
  const plans = [];
  for (let i = 0; i < count; i++) {
    plans.push({
      name: `m${i}`,
      client: `http://127.0.0.1:${await freePort()}`,
      peer: `http://127.0.0.1:${await freePort()}`,
    });
  }
  const cluster = plans.map(({ name, peer }) => `${name}=${peer}`).join(",");
  const members = plans.map(({ name, client, peer }): EtcdMember & { ended: Promise<unknown>; log: () => string } => {
    const child = spawn(
      "etcd",
      [
        ...["--name", name, "--data-dir", join(folder, name), "--initial-cluster", cluster],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, ...args],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (log += chunk));
    const ended = once(child, "close");
    return { endpoint: client, child, ended, log: () => log };
  });
  for (const { endpoint, child, log } of members) {
    for (;;) {
      const health = await fetch(`${endpoint}/health`).catch(() => undefined);
      if (health?.ok === true) break;
      if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}:\n${log()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return {
    members,
    endpoints: members.map(({ endpoint }) => endpoint),
    async stop() {
      for (const { child } of members) child.kill("SIGKILL");
      await Promise.all(members.map(({ ended }) => ended));
      await rm(folder, { recursive: true, force: true });
    },
  };
}
