// The admin service's transport, both ends: status, scale, drain, stop, tokens. It listens on loopback and asks for a token, which lies
// with the address in a file of the run directory that only its owner can read.

import { timingSafeEqual } from "node:crypto";
import { coordinatorName, type Credentials } from "../common/certificates.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import type { AdminReply__Output } from "./gen/ringtune/v1/AdminReply.ts";
import type { TokenReply__Output } from "./gen/ringtune/v1/TokenReply.ts";
import type { StatusReply__Output } from "./gen/ringtune/v1/StatusReply.ts";
import type { TraceReply__Output } from "./gen/ringtune/v1/TraceReply.ts";
import { Admin, bindServer, errorOf, grpc, statusOf } from "./grpc.ts";

export type RunStatus = StatusReply__Output;
export type RunTrace = TraceReply__Output;

/** What a coordinator answers; each may throw a RingtuneError. Scale, drain, measureLinks and stop give a sentence. */
export interface AdminHandlers {
  status(): RunStatus | Promise<RunStatus>;
  scale(workers: number): Promise<string>;
  drain(workerId: string): Promise<string>;
  /** Resolves when they are to be measured; `status` has them then. */
  measureLinks(): Promise<string>;
  stop(): Promise<string>;
  issueToken(seconds: number): Promise<NewToken>;
  /** Of the last so many steps. */
  trace(steps: number): RunTrace;
}

/** A join token, and when it expires (RFC 3339). */
export type NewToken = TokenReply__Output;

export interface AdminClient {
  status(): Promise<RunStatus>;
  scale(workers: number): Promise<string>;
  drain(workerId: string): Promise<string>;
  /** Resolves when they are to be measured; `status` has them then. */
  measureLinks(): Promise<string>;
  stop(): Promise<string>;
  issueToken(seconds: number): Promise<NewToken>;
  trace(steps: number): Promise<RunTrace>;
}

export interface AdminServer {
  /** host:port */
  readonly address: string;
  close(): Promise<void>;
}

const TOKEN_KEY = "ringtune-token";
const DEADLINE_MS = 10_000;
const FAREWELL_MS = 500;

/** Requests are a few bytes. */
const MAX_REQUEST_BYTES = 64 * 1024;

/** Listens on a free port of loopback; with credentials it speaks TLS, and the token is what lets people in. */
export async function serveAdmin(
  token: string,
  handlers: AdminHandlers,
  credentials?: Credentials,
): Promise<AdminServer> {
  const server = new grpc.Server({ "grpc.max_receive_message_length": MAX_REQUEST_BYTES });
  const answer =
    <Request, Reply>(handle: (request: Request) => Reply | Promise<Reply>) =>
    (call: grpc.ServerUnaryCall<Request, Reply>, callback: grpc.sendUnaryData<Reply>): void => {
      const reply = async (): Promise<Reply> => {
        const given = call.metadata.get(TOKEN_KEY)[0]?.toString() ?? "";
        if (!sameSecret(given, token)) throw new RingtuneError("unauthenticated", "the admin token is wrong");
        return handle(call.request);
      };
      reply().then(
        (value) => callback(null, value),
        (error: unknown) => {
          const known = error instanceof RingtuneError ? error : new RingtuneError("internal", describeError(error));
          callback(statusOf(known));
        },
      );
    };
  server.addService(Admin.service, {
    Status: answer(() => handlers.status()),
    Scale: answer(async ({ workers }: { workers: number }) => ({ sentence: await handlers.scale(workers) })),
    Drain: answer(async ({ workerId }: { workerId: string }) => ({ sentence: await handlers.drain(workerId) })),
    MeasureLinks: answer(async () => ({ sentence: await handlers.measureLinks() })),
    Stop: answer(async () => ({ sentence: await handlers.stop() })),
    IssueToken: answer(({ seconds }: { seconds: number }) => handlers.issueToken(seconds)),
    Trace: answer(({ steps }: { steps: number }) => handlers.trace(steps)),
  });
  const port = await bindServer(server, {
    ...{ host: "127.0.0.1", port: 0, setting: "cluster.port" },
    ...(credentials === undefined ? {} : { credentials: tlsOf(credentials) }),
  });
  return {
    address: `127.0.0.1:${port}`,
    // Who has asked is answered.
    close: () =>
      new Promise((resolve) => {
        const patience = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, FAREWELL_MS);
        server.tryShutdown(() => {
          clearTimeout(patience);
          resolve();
        });
      }),
  };
}

/** Asks a coordinator, and hangs up; with the authority's certificate over TLS. Every call throws what the coordinator says, or `run_missing` if it is gone. */
export function callAdmin(address: string, token: string, ca?: string): AdminClient {
  const metadata = new grpc.Metadata();
  metadata.set(TOKEN_KEY, token);
  const channel = ca === undefined ? grpc.credentials.createInsecure() : grpc.credentials.createSsl(Buffer.from(ca));
  const client = new Admin(address, channel, { "grpc.ssl_target_name_override": coordinatorName });
  const ask = <Reply>(
    call: (options: grpc.CallOptions, done: grpc.requestCallback<Reply>) => unknown,
  ): Promise<Reply> =>
    new Promise<Reply>((resolve, reject) => {
      call({ deadline: Date.now() + DEADLINE_MS }, (error, reply) => {
        if (error === null) return resolve(reply!);
        const gone = `no coordinator answers at ${address} (${error.details}); has the run ended?`;
        // Whoever is there, and does not answer in time, may be busy.
        const isGone = error.code === grpc.status.UNAVAILABLE || error.code === grpc.status.CANCELLED;
        reject(errorOf(error, new RingtuneError(isGone ? "run_missing" : "timed_out", gone)));
      });
    }).finally(() => client.close());
  const sentence = async (call: Parameters<typeof ask<AdminReply__Output>>[0]): Promise<string> =>
    (await ask<AdminReply__Output>(call)).sentence;
  return {
    status: () => ask<RunStatus>((options, done) => client.Status({}, metadata, options, done)),
    scale: (workers: number) => sentence((options, done) => client.Scale({ workers }, metadata, options, done)),
    drain: (workerId: string) => sentence((options, done) => client.Drain({ workerId }, metadata, options, done)),
    measureLinks: () => sentence((options, done) => client.MeasureLinks({}, metadata, options, done)),
    stop: () => sentence((options, done) => client.Stop({}, metadata, options, done)),
    trace: (steps: number) => ask<RunTrace>((options, done) => client.Trace({ steps }, metadata, options, done)),
    issueToken: (seconds: number) =>
      ask<NewToken>((options, done) => client.IssueToken({ seconds }, metadata, options, done)),
  };
}

function tlsOf({ key, certificate }: Credentials): grpc.ServerCredentials {
  return grpc.ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: certificate }], false);
}

function sameSecret(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
