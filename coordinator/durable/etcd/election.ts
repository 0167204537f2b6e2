// Which of several coordinators leads a run. Each puts a key with its lease; the oldest key leads. A coordinator that dies
// stops renewing its lease, its key goes, and the next oldest leads. The revision at which the leader's key was made is
// compared by every write (medium.ts), so that one who was superseded without noticing writes nothing. Of one whose process
// has ended (pulse.ts) the others need not wait for the lease.

import { RingtuneError } from "../../../common/errors.ts";
import type { Entry, Etcd } from "./client.ts";
import { keepLease, type Lease } from "./lease.ts";
import { persist, type Patience } from "./patience.ts";
import { watchPulse, type Pulse } from "./pulse.ts";

/** A coordinator as the others see it. */
export interface Candidate {
  /** Where it takes workers: host:port. */
  readonly address: string;
  readonly host: string;
  readonly pid: number;
  readonly pulse: Pulse;
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
 * Stands by until this coordinator leads; `onLeader` hears of each who does meanwhile. Rejects with the signal's reason, or with
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
  let watched: { readonly key: string; readonly stop: () => void } | undefined;
  let wake = (): void => undefined;
  const stop = (): void => wake();
  patience.signal.addEventListener("abort", stop);
  try {
    for (;;) {
      const candidates = await persist("see who leads", forever, () => etcd.list(folder));
      const [first] = candidates;
      if (lease.lost.aborted || !candidates.some((entry) => entry.key === key)) return false;
      if (first?.key === key) return true;
      const leader = leaderOf(candidates);
      if (first !== undefined && leader !== undefined && first.key !== watched?.key) {
        watched?.stop();
        const end = async (): Promise<void> => {
          await etcd.revoke(first.key.slice(folder.length)).catch(() => undefined); // of several who see it, one is first
          wake();
        };
        watched = { key: first.key, stop: watchPulse(leader.pulse, () => void end()) };
        onLeader(leader);
      }
      await new Promise<void>((resolve) => (wake = after(pollMs, resolve)));
      patience.signal.throwIfAborted();
    }
  } finally {
    watched?.stop();
    patience.signal.removeEventListener("abort", stop);
  }
}

/** Calls `done` after a while, or when what it returns is called. */
function after(ms: number, done: () => void): () => void {
  const timer = setTimeout(done, ms);
  return () => {
    clearTimeout(timer);
    done();
  };
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

/** All coordinators, the one that leads first. */
export async function candidatesOf(etcd: Etcd): Promise<readonly Candidate[]> {
  return (await etcd.list(folder)).map(parse).filter((candidate) => candidate !== undefined);
}

function leaderOf([first]: readonly Entry[]): Candidate | undefined {
  return first && parse(first);
}

function parse({ value }: Entry): Candidate | undefined {
  try {
    return JSON.parse(value) as Candidate;
  } catch {
    return undefined; // not of Ringtune
  }
}
