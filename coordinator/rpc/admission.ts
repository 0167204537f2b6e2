// Who may join: the token, the protocol's version, the name, an encrypted ring where the run has certificates. And how much
// trouble strangers may make: how many sessions may wait to join and for how long, how often one address may fail before
// its failures are no longer written down. Whoever has a valid token is let in however many others fail.

import { RingtuneError } from "../../common/errors.ts";
import type { FromWorker } from "../../proto/messages.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import type { JoinTokens } from "../store/join-tokens.ts";

type Join = Extract<FromWorker, { kind: "join" }>["value"];

export interface AdmissionOptions {
  readonly tokens: Pick<JoinTokens, "judge">;
  /** Name of the run, for the command that makes another token. */
  readonly run: string;
  /** The ring has to be encrypted, or must not be. */
  readonly encrypted: boolean;
  /** Of a clock that never jumps; since when does not matter. */
  readonly nowMs?: () => number;
}

export interface Admission {
  /**
   * A session was opened. `refuse` is called when it does not join in time, or gives way because too many came after it.
   * Call what is returned when it has joined or is gone.
   */
  await(peer: string, refuse: (error: RingtuneError) => void): () => void;
  /** Throws why this worker can't join. `peer` is the address that it called from, host:port. */
  check(join: Join, peer: string): void;
  /** Whether refusals of this peer are so many that they are no longer worth a line. */
  isNoise(peer: string): boolean;
}

/** A session without a join is a stranger's. */
const JOIN_WITHIN_MS = 10_000;
/** Sessions that have not joined; a whole cluster may come at once. */
const MAX_WAITING = 1024;
/** Failures of one address in a window of time that are answered, and written down, one by one. */
const FAILURES = 10;
const WINDOW_MS = 60_000;
/** Addresses whose failures are counted; the first to fail is forgotten. */
const MAX_ADDRESSES = 1024;

export function createAdmission(options: AdmissionOptions): Admission {
  const { tokens, run, encrypted, nowMs = () => performance.now() } = options;
  const waiting = new Map<symbol, (error: RingtuneError) => void>();
  const failures = new Map<string, { count: number; sinceMs: number }>();

  /** Failures of the address in the window, `more` among them. */
  function failed(peer: string, more: number): number {
    const address = addressOf(peer);
    const known = failures.get(address);
    const isOver = known === undefined || nowMs() - known.sinceMs > WINDOW_MS;
    const entry = isOver ? { count: 0, sinceMs: nowMs() } : known;
    entry.count += more;
    if (more > 0) failures.set(address, entry);
    const [oldest] = failures.keys();
    if (failures.size > MAX_ADDRESSES && oldest !== undefined) failures.delete(oldest);
    return entry.count;
  }

  function checkToken({ workerId, joinToken }: Join, peer: string): void {
    const verdict = tokens.judge(joinToken);
    if (verdict.kind === "valid") return;
    const count = failed(peer, 1);
    const refuse = (sentence: string): RingtuneError => new RingtuneError("unauthenticated", sentence);
    const who = `worker ${workerId} from ${peer}`;
    if (count > FAILURES) {
      const seconds = WINDOW_MS / 1000;
      throw refuse(
        `${addressOf(peer)} has failed to join ${count} times within ${seconds} s (${FAILURES} are answered); wait ${seconds} s`,
      );
    }
    if (verdict.kind === "expired") {
      const [end, now] = [verdict.expiresMs, verdict.nowMs].map((ms) => new Date(ms).toISOString());
      throw refuse(
        `${who} has a join token that expired at ${end}, it is ${now} now; make another: ringtune token ${run}`,
      );
    }
    if (joinToken === "") {
      throw refuse(`${who} has no join token; start it with the --token-file that the coordinator names`);
    }
    throw refuse(`${who} has a wrong join token; start it with the --token-file that the coordinator names`);
  }

  return {
    await(peer, refuse) {
      const key = Symbol(peer);
      const patience = setTimeout(() => {
        refuse(new RingtuneError("timed_out", `${peer} did not join within ${JOIN_WITHIN_MS / 1000} s`));
      }, JOIN_WITHIN_MS);
      waiting.set(key, refuse);
      if (waiting.size > MAX_WAITING) {
        const [[oldest, giveWay] = []] = waiting;
        if (oldest !== undefined) waiting.delete(oldest);
        giveWay?.(
          new RingtuneError("unavailable", `more than ${MAX_WAITING} sessions wait to join, and this one came first`),
        );
      }
      return () => {
        clearTimeout(patience);
        waiting.delete(key);
      };
    },
    check(join, peer) {
      const { workerId, protocolVersion, ringEndpoint } = join;
      if (!/^[\w.-]{0,64}$/.test(workerId)) {
        const got = JSON.stringify(workerId.slice(0, 80));
        const rule = "a worker's name has at most 64 letters, digits, dots, dashes and underscores";
        throw new RingtuneError("usage", `${rule}, not ${got}`);
      }
      if (protocolVersion !== PROTOCOL_VERSION) {
        const both = `worker ${workerId} speaks protocol version ${protocolVersion}, the coordinator ${PROTOCOL_VERSION}`;
        throw new RingtuneError("protocol_mismatch", `${both}; install the same Ringtune on both`);
      }
      checkToken(join, peer);
      // See worker/collective/address.ts.
      if (ringEndpoint.split(";").some((field) => field.startsWith("curve=")) === encrypted) return;
      throw new RingtuneError(
        "unauthenticated",
        encrypted
          ? `the ring of worker ${workerId} is not encrypted, and this run's is; start it with --certs and without --insecure`
          : `the ring of worker ${workerId} is encrypted, and this run's is not (cluster.insecure); start it with --insecure`,
      );
    },
    isNoise: (peer) => failed(peer, 0) > FAILURES,
  };
}

/** "10.0.0.5" of "10.0.0.5:41234". */
function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, "");
}
