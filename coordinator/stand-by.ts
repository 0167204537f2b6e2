// One coordinator of several: stands by until it is elected, and tells the workers that call meanwhile who leads. What it
// does once it leads is run.ts, as for a single one; where the state of the run is kept then is durable/etcd/medium.ts.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { basename } from "node:path";
import { RingtuneError } from "../common/errors.ts";
import { isEveryAddress } from "../common/loopback.ts";
import { connectEtcd, type EtcdSettings } from "./durable/etcd/connect.ts";
import { campaign, candidatesOf, describe, type Leadership } from "./durable/etcd/election.ts";
import { createEtcdMedium } from "./durable/etcd/medium.ts";
import { openPulse } from "./durable/etcd/pulse.ts";
import type { Medium } from "./durable/store.ts";
import { addressToCall } from "./exposure.ts";
import type { OnClose, RunOptions } from "./run.ts";
import { openServers, preparing, type Servers } from "./servers.ts";
import { runPath } from "./store/run-directory.ts";

/** What a coordinator has that leads. */
export interface Elected {
  /** Another led before. */
  readonly waited: boolean;
  /** Where the state of the run is, and is kept. */
  readonly medium: Medium;
  /** Addresses of all coordinators, its own first. */
  addresses(): Promise<readonly string[]>;
  /** Resolves while this coordinator leads; rejects with the sentence to stop with when another does. */
  permit(): Promise<void>;
  /** Aborted when it does not lead any more. */
  readonly lost: AbortSignal;
}

export interface Several {
  readonly elected: Elected;
  readonly servers: Servers;
}

/** Stands by until this coordinator leads; undefined when it is the only one. Throws `usage` for one that starts workers. */
export async function amongSeveral(
  { config, launch, progress, signal }: RunOptions,
  onClose: OnClose,
): Promise<Several | undefined> {
  const { store } = config.cluster;
  if (store.kind !== "etcd") return undefined;
  if (launch) {
    const sentence =
      "cluster.store.kind etcd is for several coordinators, and the workers of ringtune train end with theirs; use ringtune coordinator and ringtune worker, or --set cluster.store.kind=embedded";
    throw new RingtuneError("usage", sentence);
  }
  const servers = await openServers(config, progress, onClose);
  const elected = await standBy({
    settings: store,
    name: basename(runPath(config)),
    host: config.cluster.host,
    address: addressToCall(config.cluster.host, servers.sessions.port),
    notice: (line) => progress.notice(line),
    refuse: (error) => servers.refuse(error),
    onClose,
    signal,
  });
  servers.refuse(preparing);
  return { elected, servers };
}

/**
 * Resolves when this coordinator, which takes workers at `address`, leads the run `name`. Rejects with the signal's reason,
 * or `unavailable` when etcd can't be reached.
 */
async function standBy(options: {
  readonly settings: EtcdSettings;
  readonly name: string;
  /** Host that coordinators listen on. */
  readonly host: string;
  readonly address: string;
  readonly notice: (sentence: string) => void;
  /** Workers that call from now on hear this. */
  readonly refuse: (error: RingtuneError) => void;
  readonly onClose: OnClose;
  readonly signal: AbortSignal;
}): Promise<Elected> {
  const { settings, name, host, address, notice, refuse, onClose, signal } = options;
  const etcd = await connectEtcd(settings, name);
  onClose(async () => etcd.close());
  const pulse = await openPulse(host, randomBytes(8).toString("hex"));
  onClose(async () => pulse.close());
  const patience = { limitMs: settings.timeout_s * 1000, notice };
  const called = isEveryAddress(host) ? hostname() : host;
  const { port, name: greeting } = pulse;
  const candidate = { address, host: hostname(), pid: process.pid, pulse: { host: called, port, name: greeting } };
  refuse(
    new RingtuneError("unavailable", `the coordinator at ${address} stands by, and nobody leads the run ${name} yet`),
  );
  let waited = false;
  const leadership: Leadership = await campaign({
    etcd,
    candidate,
    leaseSeconds: settings.lease_s,
    patience: { ...patience, signal },
    onLeader(leader) {
      waited = true;
      notice(`standing by: ${describe(leader)} leads the run ${name}`);
      const sentence = `the coordinator at ${address} stands by; ${describe(leader)} leads the run ${name}`;
      refuse(new RingtuneError("unavailable", sentence));
    },
  });
  onClose(() => leadership.resign());
  const { lease } = leadership;
  notice(`elected: this coordinator leads the run ${name}, with a lease of ${lease.ttlMs / 1000} s`);
  return {
    waited,
    medium: createEtcdMedium(etcd, leadership, patience),
    async addresses() {
      const all = await candidatesOf(etcd).catch(() => []);
      return [...new Set([address, ...all.map((other) => other.address)])];
    },
    permit: () =>
      lease.assure().catch(async () => {
        throw await leadership.whyNot();
      }),
    lost: lease.lost,
  };
}
