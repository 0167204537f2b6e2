// The control plane's transport: one gRPC stream per worker, both ends.
// It carries messages and says why a stream ended; it knows nothing of steps or membership.

import type { Socket } from "node:net";
import { coordinatorName, type Credentials } from "../common/certificates.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { bracketed } from "../common/loopback.ts";
import type { CoordinatorMessage } from "./gen/ringtune/v1/CoordinatorMessage.ts";
import type { CoordinatorMessage__Output } from "./gen/ringtune/v1/CoordinatorMessage.ts";
import type { WorkerMessage } from "./gen/ringtune/v1/WorkerMessage.ts";
import type { WorkerMessage__Output } from "./gen/ringtune/v1/WorkerMessage.ts";
import { cannotListen, Coordinator, errorOf, grpc, statusOf } from "./grpc.ts";
import { openFrontDoor, type Refusal } from "./front-door.ts";
import { diagnoseHandshake } from "./handshake.ts";
import { unwrap, wrap, type FromCoordinator, type FromWorker } from "./messages.ts";

/** Largest control message, in bytes. A shard of 4,096 sequences of 2,048 tokens just fits. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 4096;

/** Largest message of a worker: counts of a hundred thousand labels fit. Strangers can send no larger ones either. */
const MAX_WORKER_MESSAGE_BYTES = 512 * 1024;

/**
 * What may wait for a worker that does not read. One that does has two plans at most, and a few words; a new generation
 * adds as much.
 */
const MAX_WAITING = { messages: 64, bytes: 4 * MAX_MESSAGE_BYTES };

/** How long either end waits for its last words to arrive. */
const FAREWELL_MS = 2000;

/** So soon a worker that waits for its coordinator notices that it is to leave. */
const WAIT_SLICE_MS = 100;

/** A coordinator that listens and does not answer is asked why, so often. */
const DIAGNOSE_EVERY_MS = 500;

/** Answered by the coordinator's process, not by its host: one that is stopped does not. */
function pings(silenceMs: number): grpc.ChannelOptions {
  if (silenceMs === 0) return {};
  return { "grpc.keepalive_time_ms": silenceMs / 5, "grpc.keepalive_timeout_ms": (silenceMs * 4) / 5 };
}

const channelOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
};

/** The coordinator's end of a worker's stream. */
export interface WorkerSession {
  /** Address that the worker called from. */
  readonly peer: string;
  /** When its first message arrived, by the time of day in milliseconds since 1970; 0 before. */
  readonly arrivedMs: number;
  send(message: FromCoordinator): void;
  /** Ends the stream with the error's code and sentence. */
  reject(error: RingtuneError): void;
  /** Ends the stream after everything sent so far. */
  end(): void;
}

export interface WorkerSessionHandlers {
  message(message: FromWorker): void;
  /** Called once, whatever ended the stream. */
  closed(reason: string): void;
}

export interface SessionServer {
  readonly address: string;
  readonly port: number;
  /** Resolves when every stream has ended; what was sent arrives first. Streams that stay are cut after two seconds. */
  close(): Promise<void>;
}

/**
 * Listens for workers. With credentials the connection is mutual TLS: who shows no certificate of the same authority gets
 * no connection. Throws `address_in_use` when the port is taken.
 */
export async function serveSessions(options: {
  host: string;
  port: number;
  credentials?: Credentials;
  accept: (session: WorkerSession) => WorkerSessionHandlers;
  /** Hears of connections that were closed because nobody joined on them. */
  noticed?: (sentence: string) => void;
  /** Hears of every connection that was closed, and every message that was refused, before the session's handlers saw it. */
  refused?: (why: Refusal) => void;
  /** How long a connection may last on which nobody has joined. */
  proveWithinMs?: number;
}): Promise<SessionServer> {
  const { host, port, noticed = () => undefined, refused = () => undefined, proveWithinMs } = options;
  // gRPC cuts off what is larger without a word to us, so a message that is only somewhat too large is refused by name.
  const limit = { "grpc.max_receive_message_length": 2 * MAX_WORKER_MESSAGE_BYTES };
  const server = new grpc.Server({ ...channelOptions, ...limit });
  const injector = server.createConnectionInjector(serverCredentials(options.credentials));
  const connection = (socket: Socket): void => injector.injectConnection(socket);
  const door = await openFrontDoor({ host, port, connection, refused, noticed, proveWithinMs }).catch(
    (cause: Error) => {
      throw cannotListen({ host: bracketed(host), port, setting: "cluster.port" }, cause);
    },
  );
  server.addService(readable(Coordinator.service), {
    Session(stream: grpc.ServerDuplexStream<WorkerMessage__Output | Unreadable, CoordinatorMessage>) {
      let open = true;
      let arrivedMs = 0;
      const peer = stream.getPeer();
      const waiting = { messages: 0, bytes: 0 };
      /** A worker that does not read never hears why, and what it does not read is to be forgotten. */
      const cutIfStuck = (): void => {
        if (waiting.messages > 0) door.cut(peer);
      };
      const reject = (error: RingtuneError): void => {
        close(error.message);
        stream.emit("error", statusOf(error));
        setTimeout(cutIfStuck, FAREWELL_MS).unref();
      };
      const handlers = options.accept({
        peer,
        get arrivedMs() {
          return arrivedMs;
        },
        send(message) {
          if (!open) return;
          // Nothing is sent before a worker has joined.
          door.prove(peer);
          const bytes = sizeOf(message);
          waiting.messages++;
          waiting.bytes += bytes;
          stream.write(wrap(message), () => {
            waiting.messages--;
            waiting.bytes -= bytes;
          });
          if (waiting.messages <= MAX_WAITING.messages && waiting.bytes <= MAX_WAITING.bytes) return;
          const { messages, bytes: held } = waiting;
          refused("unread");
          close(
            `it does not read: ${messages} messages (${held} bytes) wait for it, of at most ${MAX_WAITING.messages} (${MAX_WAITING.bytes} bytes)`,
          );
          door.cut(peer);
        },
        reject,
        end() {
          stream.end();
          close("the coordinator ended the session");
        },
      });
      const close = (reason: string): void => {
        if (!open) return;
        open = false;
        handlers.closed(reason);
      };
      stream.on("data", (raw: WorkerMessage__Output | Unreadable) => {
        arrivedMs ||= Date.now();
        if (raw instanceof Unreadable) {
          if (!open) return;
          refused("unreadable");
          return reject(new RingtuneError("protocol_mismatch", raw.sentence));
        }
        const message = unwrap(raw);
        if (message !== undefined && open) handlers.message(message);
      });
      stream.on("end", () => {
        stream.end();
        close("it ended its session");
      });
      stream.on("cancelled", () => close("its connection closed"));
      stream.on("error", (error) => close(`its connection failed (${describeError(error)})`));
    },
  });
  return {
    address: `${bracketed(host)}:${door.port}`,
    port: door.port,
    close: () =>
      new Promise((resolve) => {
        door.close();
        const patience = setTimeout(() => server.forceShutdown(), FAREWELL_MS);
        server.tryShutdown(() => {
          clearTimeout(patience);
          resolve();
        });
      }),
  };
}

/** What came in the place of a message. */
class Unreadable {
  readonly sentence: string;
  constructor(sentence: string) {
    this.sentence = sentence;
  }
}

/** The service, with its own word for what is too large or no message: gRPC would end the call, and tell only the worker why. */
function readable(service: typeof Coordinator.service): grpc.ServiceDefinition {
  const { Session } = service;
  const requestDeserialize = (bytes: Buffer): WorkerMessage__Output | Unreadable => {
    if (bytes.length > MAX_WORKER_MESSAGE_BYTES) {
      return new Unreadable(`it sent a message of ${bytes.length} bytes, of at most ${MAX_WORKER_MESSAGE_BYTES}`);
    }
    try {
      return Session.requestDeserialize(bytes);
    } catch (error) {
      return new Unreadable(`it sent ${bytes.length} bytes that are no message of ours (${describeError(error)})`);
    }
  };
  return { ...service, Session: { ...Session, requestDeserialize } };
}

/** Bytes of the rows in a message; the rest is small. */
function sizeOf({ value }: FromCoordinator): number {
  if (!("shard" in value) || value.shard === null) return 0;
  const { inputIds, targets, attentionMask, tokenTypeIds } = value.shard;
  return inputIds.length + targets.length + attentionMask.length + tokenTypeIds.length;
}

/** The worker's end of its stream. */
export interface CoordinatorSession {
  send(message: { [K in FromWorker as K["kind"]]: { kind: K["kind"]; value: K["value"] } }[FromWorker["kind"]]): void;
  /** Resolves when everything sent has arrived, or the coordinator no longer answers. */
  end(): Promise<void>;
  /** Gives the coordinator up: the stream is over at once, for this reason. */
  giveUp(error: RingtuneError): void;
}

export interface CoordinatorSessionHandlers {
  message(message: FromCoordinator): void;
  /** Called once. Without an error the coordinator ended the session. */
  closed(error: RingtuneError | undefined): void;
}

/**
 * Calls the coordinator. Rejects with `timed_out` when it can't be reached within `timeoutMs`, and with the signal's
 * reason when that aborts before it is reached. Without `patient`, a refused connection rejects at once with `unavailable`.
 * A coordinator whose process has not answered for `silenceMs` is given up; 0, the default, waits as long as the connection stands.
 */
export async function openSession(options: {
  address: string;
  timeoutMs: number;
  patient?: boolean;
  silenceMs?: number;
  credentials?: Credentials;
  signal?: AbortSignal;
  handlers: CoordinatorSessionHandlers;
}): Promise<CoordinatorSession> {
  const client = new Coordinator(options.address, channelCredentials(options.credentials), {
    "grpc.ssl_target_name_override": coordinatorName,
    "grpc.default_authority": coordinatorName,
    ...channelOptions,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    ...pings(options.silenceMs ?? 0),
  });
  await untilReady(client, options);
  const stream: grpc.ClientDuplexStream<WorkerMessage, CoordinatorMessage__Output> = client.Session();
  let open = true;
  let markClosed = (): void => undefined;
  const closed = new Promise<void>((resolve) => (markClosed = resolve));
  const close = (error: RingtuneError | undefined): void => {
    if (!open) return;
    open = false;
    client.close();
    markClosed();
    options.handlers.closed(error);
  };
  stream.on("data", (raw: CoordinatorMessage__Output) => {
    const message = unwrap(raw);
    if (message !== undefined && open) options.handlers.message(message);
  });
  stream.on("status", (result: grpc.StatusObject) => {
    if (result.code === grpc.status.OK) return close(undefined);
    // gRPC itself does not name the coordinator.
    const lost = `lost the coordinator at ${options.address} (${result.details})`;
    close(errorOf(result, new RingtuneError("worker_lost", lost)));
  });
  stream.on("error", () => undefined); // said by "status" already
  return {
    send(message) {
      if (open) stream.write(wrap(message));
    },
    async end() {
      if (!open) return;
      stream.end();
      const patience = setTimeout(() => close(undefined), FAREWELL_MS);
      await closed;
      clearTimeout(patience);
    },
    giveUp(error) {
      stream.cancel();
      close(error);
    },
  };
}

/** Waits a moment at a time: gRPC's own wait can't be cancelled, and would keep a program that leaves alive. */
async function untilReady(
  client: grpc.Client,
  {
    address,
    timeoutMs,
    patient = true,
    credentials,
    signal,
  }: { address: string; timeoutMs: number; patient?: boolean; credentials?: Credentials; signal?: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let diagnoseAt = performance.now() + DIAGNOSE_EVERY_MS;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const leftMs = Math.min(deadline - performance.now(), WAIT_SLICE_MS);
      // gRPC wants a time of the day; a clock that jumps costs one slice at most.
      const moment = Date.now() + leftMs;
      const ready = await new Promise<boolean>((resolve) => {
        client.waitForReady(moment, (error) => resolve(error === undefined));
      });
      if (ready) return signal?.throwIfAborted();
      if (!patient && client.getChannel().getConnectivityState(false) === grpc.connectivityState.TRANSIENT_FAILURE) {
        throw new RingtuneError("unavailable", `no coordinator answers at ${address}`);
      }
      if (patient && performance.now() >= diagnoseAt) {
        const reason = await diagnoseHandshake(address, credentials);
        if (reason !== undefined) {
          throw new RingtuneError("unauthenticated", `the coordinator at ${address} can't be called: ${reason}`);
        }
        diagnoseAt = performance.now() + DIAGNOSE_EVERY_MS;
      }
      if (performance.now() >= deadline) {
        if (!patient) throw new RingtuneError("unavailable", `no coordinator answers at ${address}`);
        const sentence = `no coordinator answers at ${address} after ${timeoutMs} ms; is it running, and is the address right?`;
        throw new RingtuneError("timed_out", sentence);
      }
    }
  } catch (error) {
    client.close();
    throw error;
  }
}

function serverCredentials(credentials: Credentials | undefined): grpc.ServerCredentials {
  if (credentials === undefined) return grpc.ServerCredentials.createInsecure();
  const { ca, certificate, key } = credentials;
  return grpc.ServerCredentials.createSsl(ca, [{ private_key: key, cert_chain: certificate }], true);
}

function channelCredentials(credentials: Credentials | undefined): grpc.ChannelCredentials {
  if (credentials === undefined) return grpc.credentials.createInsecure();
  return grpc.credentials.createSsl(credentials.ca, credentials.key, credentials.certificate);
}
