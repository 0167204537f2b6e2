// One coordinator of several: stands by until it is elected, and tells the workers that call meanwhile who leads. What it
// does once it leads is run.ts, as for a single one; where the state of the run is kept then is durable/etcd/medium.ts.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { basename } from "node:path";
import { RingtuneError } from "../common/errors.ts";
import { isEveryAddress } from "../common/loopback.ts";
import { connectEtcd, type EtcdSettings } from "./durable/etcd/connect.ts";
import { campaign, candidatesOf, describe, type Candidate, type Leadership } from "./durable/etcd/election.ts";
import { createEtcdMedium } from "./durable/etcd/medium.ts";
import { openPulse } from "./durable/etcd/pulse.ts";
import type { Medium } from "./durable/store.ts";
import { addressToCall } from "./exposure.ts";
import { prepareAhead, type Ahead } from "./prepare-ahead.ts";
import type { OnClose, RunOptions } from "./run.ts";
import { openServers, type Servers } from "./servers.ts";
import { runPath } from "./store/run-directory.ts";

/** What a coordinator has that leads. */
export interface Elected {
  /** Another led before. */
  readonly waited: boolean;
  /** Where the state of the run is, and is kept. */
  readonly medium: Medium;
  /** Addresses of all coordinators, its own first. */
  addresses(): Promise<readonly string[]>;
  /** Who stands by, the next to lead first; none while etcd does not answer. */
  standbys(): Promise<readonly Candidate[]>;
  /** Resolves while this coordinator leads; rejects with the sentence to stop with when another does. */
  permit(): Promise<void>;
  /** Aborted when it does not lead any more. */
  readonly lost: AbortSignal;
}

export interface Several {
  readonly elected: Elected;
  readonly servers: Servers;
  /** Undefined when this coordinator was the first to come. */
  readonly ahead: Ahead | undefined;
}

/** Stands by until this coordinator leads. Throws `usage` for one that starts workers. */
export async function amongSeveral(
  { config, launch, progress, signal }: RunOptions,
  settings: EtcdSettings,
  onClose: OnClose,
): Promise<Several> {
  if (launch) {
    const sentence =
      "cluster.store.kind etcd is for several coordinators, and the workers of ringtune train end with theirs; use ringtune coordinator and ringtune worker, or --set cluster.store.kind=embedded";
    throw new RingtuneError("usage", sentence);
  }
  const servers = await openServers(config, progress, onClose);
  const path = runPath(config);
  let ahead: Ahead | undefined;
  const elected = await standBy({
    settings,
    name: basename(path),
    host: config.cluster.host,
    address: addressToCall(config.cluster.host, servers.sessions.port),
    notice: (line) => progress.notice(line),
    refer: (error) => servers.refer(error),
    onLeader: () => (ahead ??= prepareAhead({ config, path, progress, signal })),
    onClose,
    signal,
  });
  servers.prepare();
  return { elected, servers, ahead };
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
  readonly refer: (error: RingtuneError) => void;
  /** Another leads. */
  readonly onLeader: () => void;
  readonly onClose: OnClose;
  readonly signal: AbortSignal;
}): Promise<Elected> {
  const { settings, name, host, address, notice, refer, onLeader, onClose, signal } = options;
  const etcd = await connectEtcd(settings, name);
  onClose(async () => etcd.close());
  const pulse = await openPulse(host, randomBytes(8).toString("hex"));
  onClose(async () => pulse.close());
  const patience = { limitMs: settings.timeout_s * 1000, notice };
  const called = isEveryAddress(host) ? hostname() : host;
  const { port, name: greeting } = pulse;
  const candidate = { address, host: hostname(), pid: process.pid, pulse: { host: called, port, name: greeting } };
  refer(
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
      onLeader();
      notice(`standing by: ${describe(leader)} leads the run ${name}`);
      const sentence = `the coordinator at ${address} stands by; ${describe(leader)} leads the run ${name}`;
      refer(new RingtuneError("unavailable", sentence));
    },
  });
  onClose(() => leadership.resign());
  const { lease } = leadership;
  notice(`elected: this coordinator leads the run ${name}, with a lease of ${lease.ttlMs / 1000} s`);
  const others = async (): Promise<readonly Candidate[]> =>
    (await candidatesOf(etcd).catch(() => [])).filter((other) => other.pulse.name !== greeting);
  return {
    waited,
    medium: createEtcdMedium(etcd, leadership, patience),
    async addresses() {
      return [...new Set([address, ...(await others()).map((other) => other.address)])];
    },
    standbys: others,
    permit: () =>
      lease.assure().catch(async () => {
        throw await leadership.whyNot();
      }),
    lost: lease.lost,
  };
}
