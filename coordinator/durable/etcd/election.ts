// Which of several coordinators leads a run. Each puts a key with its lease; the oldest key leads. A coordinator that dies
// stops renewing its lease, its key goes, and the next oldest leads. The revision at which the leader's key was made is
// compared by every write (medium.ts), so that one who was superseded without noticing writes nothing.

import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../../common/errors.ts";
import type { Entry, Etcd } from "./client.ts";
import { keepLease, type Lease } from "./lease.ts";
import { persist, type Patience } from "./patience.ts";

/** A coordinator as the others see it. */
export interface Candidate {
  /** Where it takes workers: host:port. */
  readonly address: string;
  readonly host: string;
  readonly pid: number;
}

export interface Leadership {
  readonly lease: Pick<Lease, "holds" | "assure" | "lost" | "ttlMs">;
  /** The key that leads as long as it was made at this revision. */
  readonly key: string;
  readonly revision: string;
  /** Why this coordinator does not lead any more, in the sentence to stop with: `superseded` or `unavailable`. */
  whyNot(): Promise<RingtuneError>;
  /** The next one leads at once. */
  resign(): Promise<void>;
}

const folder = "candidates/";
const pollMs = 200;

/**
 * Stands by until this coordinator leads; `onLeader` hears who does meanwhile. Rejects with the signal's reason, or with
 * `unavailable` when etcd can't be reached at first.
 */
export async function campaign(options: {
  readonly etcd: Etcd;
  readonly candidate: Candidate;
  readonly leaseSeconds: number;
  readonly patience: Patience & { readonly signal: AbortSignal };
  readonly onLeader: (leader: Candidate) => void;
}): Promise<Leadership> {
  const { etcd, candidate, leaseSeconds, patience, onLeader } = options;
  for (;;) {
    const lease = await keepLease(etcd, leaseSeconds, patience);
    const key = folder + lease.id;
    try {
      const revision = await enter(etcd, key, candidate, lease, patience);
      const elected = await standBy(etcd, key, lease, patience, onLeader);
      if (elected) return leadershipOf(etcd, key, revision, lease);
      await lease.end();
    } catch (error) {
      await lease.end();
      throw error;
    }
    patience.notice("this coordinator was stopped for longer than its lease lasts, it stands by anew");
  }
}

/** Resolves with the revision of the key. */
async function enter(etcd: Etcd, key: string, candidate: Candidate, lease: Lease, patience: Patience): Promise<string> {
  return persist("stand for election", patience, async () => {
    const written = await etcd.transact({
      if: [{ key, revision: "created", is: "0" }],
      put: [[key, JSON.stringify(candidate)]],
      lease: lease.id,
      else: [key],
    });
    // An earlier attempt without an answer may have done it.
    return "revision" in written ? written.revision : (written.found.get(key)?.created ?? "0");
  });
}

/** True when elected, false when the lease ran out before. */
async function standBy(
  etcd: Etcd,
  key: string,
  lease: Lease,
  patience: Patience & { readonly signal: AbortSignal },
  onLeader: (leader: Candidate) => void,
): Promise<boolean> {
  const forever = { ...patience, limitMs: Infinity };
  for (;;) {
    const candidates = await persist("see who leads", forever, () => etcd.list(folder));
    if (lease.lost.aborted || !candidates.some((entry) => entry.key === key)) return false;
    if (candidates[0]?.key === key) return true;
    const leader = leaderOf(candidates);
    if (leader !== undefined) onLeader(leader);
    await delay(pollMs, undefined, { signal: patience.signal }).catch(() => patience.signal.throwIfAborted());
  }
}

function leadershipOf(etcd: Etcd, key: string, revision: string, lease: Lease): Leadership {
  return {
    lease,
    key,
    revision,
    async whyNot() {
      const { reason } = lease.lost as { reason: unknown };
      if (reason instanceof RingtuneError && reason.code !== "superseded") return reason;
      const leader = leaderOf(await etcd.list(folder).catch(() => []));
      const cause = reason instanceof RingtuneError ? `${reason.message}; ` : "";
      const now = leader === undefined ? "it does not lead the run any more" : `${describe(leader)} leads the run now`;
      return new RingtuneError("superseded", `${cause}${now}; this one stops and writes nothing more`);
    },
    resign: () => lease.end(),
  };
}

/** "the coordinator at 127.0.0.1:7447 (pid 4211 on node-3)" */
export function describe({ address, host, pid }: Candidate): string {
  return `the coordinator at ${address} (pid ${pid} on ${host})`;
}

function leaderOf([first]: readonly Entry[]): Candidate | undefined {
  try {
    return first === undefined ? undefined : (JSON.parse(first.value) as Candidate);
  } catch {
    return undefined; // not of Ringtune
  }
}
