// A real etcd (Debian's package etcd-server), one member or several, for a test.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
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

export interface EtcdStart {
  readonly count?: number;
  /** For each member. */
  readonly args?: readonly string[];
  /** Certificates as `ringtune certs init` makes them: those of the coordinator are etcd's, and it lets in who has others. */
  readonly certs?: string;
}

/** Resolves when the members listen, which is before they have elected a leader. */
export async function startEtcd({ count = 1, args = [], certs }: EtcdStart = {}): Promise<EtcdCluster> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-etcd-"));
  const ports = await Promise.all(Array.from({ length: 2 * count }, freePort));
  const plans = Array.from({ length: count }, (_, i) => ({
    name: `m${i}`,
    client: `${certs === undefined ? "http" : "https"}://127.0.0.1:${ports[i]}`,
    peer: `http://127.0.0.1:${ports[count + i]}`,
  }));
  const tls = ["ca", "coordinator", "coordinator-key"].map((name) => join(certs ?? "", `${name}.pem`));
  const secure = ["--client-cert-auth", "--trusted-ca-file", tls[0]!, "--cert-file", tls[1]!, "--key-file", tls[2]!];
  const members = plans.map(({ name, client, peer }) => {
    const child = spawn(
      "etcd",
      [
        ...["--name", name, "--data-dir", join(folder, name)],
        ...["--initial-cluster", plans.map((plan) => `${plan.name}=${plan.peer}`).join(",")],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...(certs === undefined ? [] : secure),
        ...args,
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (log += chunk));
    return { endpoint: client, child, ended: once(child, "close"), log: () => log };
  });
  for (const { endpoint, child, log } of members) {
    while (!(await listens(Number(new URL(endpoint).port)))) {
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

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", () => resolve(false)).once("connect", () => resolve(true));
    socket.once("connect", () => socket.destroy());
  });
}
