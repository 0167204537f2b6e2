// etcd as Ringtune uses it: texts by key below one prefix, transactions, leases. The only file that imports etcd3. Every
// call is one attempt with a deadline, at a member chosen at random; who calls decides whether to try again (patience.ts).

import { Etcd3, isRecoverableError, type IKeyValue, type IOptions } from "etcd3";
import { describeError, RingtuneError } from "../../../common/errors.ts";
import type { Credentials } from "../../../common/certificates.ts";

export interface EtcdOptions {
  /** "http://127.0.0.1:2379"; all with the same scheme. */
  readonly endpoints: readonly string[];
  /** In front of every key: "ringtune/my-run/". */
  readonly prefix: string;
  /** Longest wait for one answer. */
  readonly attemptMs: number;
  /** For https: the authority, and what to show if etcd asks for a certificate. */
  readonly tls?: Pick<Credentials, "ca"> & Partial<Credentials>;
  readonly user?: { readonly name: string; readonly password: string };
}

export interface Entry {
  /** Without the prefix. */
  readonly key: string;
  readonly value: string;
  /** Revisions of the whole etcd at which the key was made and last written. */
  readonly created: string;
  readonly modified: string;
}

/** The key must have been made, or last written, at this revision; "0": it must not exist. */
export interface Condition {
  readonly key: string;
  readonly revision: "created" | "modified";
  readonly is: string;
}

/**
 * All methods reject with RingtuneError: `unavailable` when there was no answer, or one that says to try again (what was
 * asked for may have been done), `unauthenticated` when etcd does not let this user, `disk_failed` when it refuses.
 */
export interface Etcd {
  /** For sentences: "etcd at http://10.0.0.1:2379". */
  readonly name: string;
  /** All keys that begin with `folder`, the oldest first. */
  list(folder: string): Promise<readonly Entry[]>;
  /** Writes all if every condition holds, at the revision it resolves with; otherwise reads `else`. */
  transact(request: {
    readonly if: readonly Condition[];
    readonly put: Iterable<readonly [key: string, value: string]>;
    /** The keys that are put go with this lease. */
    readonly lease?: string;
    readonly else: readonly string[];
  }): Promise<{ readonly revision: string } | { readonly found: ReadonlyMap<string, Entry> }>;
  /** A new lease; etcd may make it longer than was asked for, not shorter. */
  grant(seconds: number): Promise<{ readonly lease: string; readonly ttlMs: number }>;
  /** What is left of the lease, which is all of it; 0 when it has run out. */
  keepAlive(lease: string): Promise<number>;
  /** Ends the lease, and with it its keys. */
  revoke(lease: string): Promise<void>;
  close(): void;
}

/** etcd hashes passwords with bcrypt, which is slow on purpose. */
const passwordMs = 10_000;

export function createEtcd(options: EtcdOptions): Etcd {
  const { endpoints, prefix, attemptMs, tls, user } = options;
  const name = `etcd at ${endpoints.join(", ")}`;
  const client = new Etcd3({
    hosts: [...endpoints],
    defaultCallOptions({ isStream, service }) {
      if (isStream) return {};
      return { deadline: Date.now() + ((service as string) === "Auth" ? passwordMs : attemptMs) };
    },
    grpcOptions: {
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 500,
      "grpc.max_receive_message_length": -1,
    },
    faultHandling: { host: () => directly, global: directly },
    ...(tls === undefined ? {} : credentialsOf(tls)),
    ...(user === undefined ? {} : { auth: { username: user.name, password: user.password } }),
  });
  const key = (name: string): Buffer => Buffer.from(prefix + name);
  const entryOf = (found: IKeyValue): Entry => ({
    key: found.key.toString().slice(prefix.length),
    value: found.value.toString(),
    created: found.create_revision,
    modified: found.mod_revision,
  });

  async function attempt<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw inWords(name, error, user?.name);
    }
  }

  return {
    name,
    list: (folder) =>
      attempt(async () => {
        const first = key(folder);
        const end = Buffer.from(first);
        end[end.length - 1] = (end.at(-1) ?? 0) + 1;
        const request = { key: first, range_end: end, sort_target: "Create", sort_order: "Ascend" } as const;
        return (await client.kv.range(request)).kvs.map(entryOf);
      }),
    transact: (request) =>
      attempt(async () => {
        const { succeeded, header, responses } = await client.kv.txn({
          compare: request.if.map(({ key: name, revision, is }) => ({
            key: key(name),
            result: "Equal" as const,
            ...(revision === "created"
              ? { target: "Create" as const, create_revision: is }
              : { target: "Mod" as const, mod_revision: is }),
          })),
          success: Array.from(request.put, ([name, value]) => ({
            request_put: { key: key(name), value: Buffer.from(value), lease: request.lease ?? "0" },
          })),
          failure: request.else.map((name) => ({ request_range: { key: key(name) } })),
        });
        if (succeeded) return { revision: header.revision };
        const entries = responses.flatMap(({ response_range }) => response_range.kvs.map(entryOf));
        return { found: new Map(entries.map((entry) => [entry.key, entry])) };
      }),
    grant: (seconds) =>
      attempt(async () => {
        const { ID, TTL } = await client.leaseClient.leaseGrant({ TTL: seconds });
        return { lease: ID, ttlMs: Number(TTL) * 1000 };
      }),
    keepAlive: (lease) =>
      attempt(async () => {
        const stream = await client.leaseClient.leaseKeepAlive({ deadline: Date.now() + attemptMs });
        return new Promise<number>((resolve, reject) => {
          stream.on("data", ({ TTL }) => resolve(Number(TTL) * 1000));
          stream.on("error", reject);
          stream.on("end", () => reject(new Error("the stream ended without an answer")));
          stream.write({ ID: lease });
          stream.end();
        });
      }),
    revoke: (lease) => attempt(async () => void (await client.leaseClient.leaseRevoke({ ID: lease }))),
    close: () => client.close(),
  };
}

/** etcd3 would try again by itself and keep away from a member for five seconds, which is longer than a lease. */
const directly = {
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
  execute: async <T>(call: (context: { signal: AbortSignal }) => T | PromiseLike<T>) =>
    call({ signal: new AbortController().signal }),
} as unknown as NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;

function credentialsOf({ ca, certificate, key }: NonNullable<EtcdOptions["tls"]>): Pick<IOptions, "credentials"> {
  const own = certificate === undefined || key === undefined ? {} : { certChain: certificate, privateKey: key };
  return { credentials: { rootCertificate: ca, ...own } };
}

function inWords(name: string, error: unknown, user: string | undefined): RingtuneError {
  const said = describeError(error).replace(/^\d+ [A-Z_]+: /, "");
  if (/authentication failed|permission denied|invalid auth token|user name is empty/.test(said)) {
    const who = user === undefined ? "without cluster.store.username" : `as user ${JSON.stringify(user)}`;
    return new RingtuneError("unauthenticated", `${name} refuses this coordinator ${who}: ${said}`, { cause: error });
  }
  const isTooLarge = /too large|larger than max/.test(said);
  const isAsking = error instanceof Error && (isRecoverableError(error) || error.constructor === Error);
  const code = isAsking && !isTooLarge ? "unavailable" : "disk_failed";
  return new RingtuneError(code, `${name} ${code === "unavailable" ? "does not answer" : "refuses"}: ${said}`, {
    cause: error,
  });
}
