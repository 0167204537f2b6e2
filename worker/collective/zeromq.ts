// The transport between processes: one ROUTER bound per worker, to a TCP port and, for ranks on the same host, to a local
// socket; one DEALER for each rank that is sent to, per generation. The only file that imports zeromq. Queues are bounded
// twice: by the credit, and behind it by high water marks that the credit never lets fill, so `send` does not block and
// nothing is lost to a full queue. With `encrypted`, everything that leaves the process by a socket is encrypted and
// authenticated with CURVE (RFC 26), and the ROUTER hears members of the generation only (curve.ts).

import { randomBytes } from "node:crypto";
import { Context, curveKeyPair, Dealer, Router } from "zeromq";
import { RingtuneError } from "../../common/errors.ts";
import { bracketed } from "../../common/loopback.ts";
import { maxPayloadBytes } from "../../proto/frame.ts";
import { describeAddress, parseAddress, pathBetween, type EndpointAddress, type Reach } from "./address.ts";
import { createDoorkeeper, curveOverheadBytes, isCurveKey, type CurveKeys, type Doorkeeper } from "./curve.ts";
import { createRingEndpoint, defaultRingOptions, type RingEndpoint } from "./endpoint.ts";
import { hostIdentity } from "./host-identity.ts";
import { keepFreedMemory, releaseMessage } from "./message-memory.ts";
import type { RingOptions } from "./session.ts";
import { createSharedMemory } from "./shared-memory/shared-memory.ts";
import type { Connection, ConnectionEvents, Transport } from "./transport.ts";

export interface CollectiveEndpointOptions extends Partial<RingOptions> {
  /** Interface to listen on, such as "127.0.0.1" or "0.0.0.0". */
  readonly host: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** Host in the address given to other ranks, if they cannot use `host`. */
  readonly advertisedHost?: string;
  /** The fastest way that ranks on the same host may take to this one; memory, the default, is tried before ipc, ipc before tcp. */
  readonly reach?: Reach;
  /** Which host this is, for ranks to find out who shares one; the machine's own identity by default. */
  readonly hostId?: string;
  /** CURVE, with keys made for this endpoint; all ranks or none. Memory that ranks of a host share needs none. */
  readonly encrypted?: boolean;
}

/** Bounds the last acknowledgements and copies on their way to a neighbour; everything else is discarded at once on close. */
const lingerMs = 250;

/**
 * Binds the socket that other ranks connect to.
 * Errors: `address_in_use` if the port is taken, `collective_failed` if the host is not an address of this machine.
 */
export async function createCollectiveEndpoint(options: CollectiveEndpointOptions): Promise<RingEndpoint> {
  const memory = (options.reach ?? "memory") === "memory" ? createSharedMemory() : undefined;
  const transport = await createZeroMqTransport({ ...options, reach: memory ? "memory" : (options.reach ?? "ipc") });
  return createRingEndpoint(transport, options, memory);
}

/** The transport alone; errors as above. */
export async function createZeroMqTransport(options: CollectiveEndpointOptions): Promise<Transport> {
  const { host, port = 0, advertisedHost = host, windowSegments = defaultRingOptions.windowSegments } = options;
  const { reach = "ipc", hostId = hostIdentity(), encrypted = false } = options;
  const keys = encrypted ? curveKeyPair() : undefined;
  const door = keys && (await openDoor());
  const common = {
    maxMessageSize: maxPayloadBytes + (keys ? curveOverheadBytes : 0),
    sendHighWaterMark: windowSegments + 16,
    receiveHighWaterMark: windowSegments + 16,
    // Answered by ZeroMQ's own thread: a peer that only computes is not lost, a host that vanished is.
    heartbeatInterval: 2_000,
    heartbeatTimeout: 10_000,
  };
  const router = new Router({
    ...{ ...common, linger: lingerMs, ipv6: host.includes(":") },
    ...(keys && door ? serverOf(keys, door.context) : {}),
  });
  const wanted = `tcp://${bracketed(host)}:${port === 0 ? "*" : port}`;
  try {
    await router.bind(wanted);
  } catch (cause) {
    router.close();
    door?.close();
    throw bindError(host, port, cause);
  }
  const boundPort = /:(\d+)$/.exec(router.lastEndpoint ?? "")?.[1] ?? String(port);
  const tcp = `tcp://${bracketed(advertisedHost)}:${boundPort}`;
  // Linux's abstract sockets are names, not files: there is nothing to remove.
  const ipc =
    reach === "tcp" || process.platform !== "linux" ? undefined : `ipc://@ringtune-${randomBytes(8).toString("hex")}`;
  if (ipc !== undefined) await router.bind(ipc);
  const local = ipc === undefined ? {} : { ipc };
  const own = { tcp, host: hostId, ...local, memory: reach === "memory", ...(keys ? { curve: keys.publicKey } : {}) };
  const connections = new Set<Connection>();
  const sendReply = createSender((parts) => router.send(parts));
  keepFreedMemory();

  return {
    address: describeAddress(own),
    admit(addresses) {
      const members = addresses.map(parseAddress);
      assertAlike(members, encrypted);
      door?.admit(members.map(({ curve = "" }) => curve));
    },
    listen(onMessage) {
      void receiveAll(router, ([from, ...parts]) => onMessage(from!.toString("latin1"), parts));
    },
    release: releaseMessage,
    reply: (connection, part) => sendReply([Buffer.from(connection, "latin1"), part]),
    connect(address, events) {
      const other = parseAddress(address);
      const path = pathBetween(own, other);
      const dealer = new Dealer({ ...common, linger: 0, ipv6: path.includes("["), ...clientOf(keys, other.curve) });
      const connection = openConnection(dealer, path, events, () => connections.delete(connection));
      connections.add(connection);
      return connection;
    },
    async close() {
      for (const connection of [...connections]) connection.close();
      router.close();
      door?.close();
    },
  };
}

interface Door extends Pick<Doorkeeper, "admit"> {
  /** The doorkeeper of a context is asked about all its sockets, so each ROUTER has a context of its own. */
  readonly context: Context;
  close(): void;
}

async function openDoor(): Promise<Door> {
  const context = new Context({ blocky: false });
  const requests = new Router({ context, linger: 0 });
  await requests.bind("inproc://zeromq.zap.01");
  const doorkeeper = createDoorkeeper(createSender((parts) => requests.send(parts)));
  void receiveAll(requests, (parts) => doorkeeper.request(parts));
  return { context, admit: (keys) => doorkeeper.admit(keys), close: () => requests.close() };
}

function serverOf({ secretKey }: CurveKeys, context: Context) {
  // Enforced: were there no doorkeeper, nobody would be let in.
  return { context, curveServer: true, curveSecretKey: secretKey, zapDomain: "ring", zapEnforceDomain: true };
}

function clientOf(keys: CurveKeys | undefined, serverKey: string | undefined) {
  if (keys === undefined || serverKey === undefined) return {};
  return { curvePublicKey: keys.publicKey, curveSecretKey: keys.secretKey, curveServerKey: serverKey };
}

/** Encrypted rings speak to no other, so a rank that differs would wait for ever. */
function assertAlike(members: readonly EndpointAddress[], encrypted: boolean): void {
  for (const [rank, { tcp, curve }] of members.entries()) {
    if (encrypted ? curve !== undefined && isCurveKey(curve) : curve === undefined) continue;
    const both = encrypted
      ? `rank ${rank} at ${tcp} gives no public key, and this worker's ring is encrypted`
      : `the ring of rank ${rank} at ${tcp} is encrypted, and this worker's is not`;
    throw new RingtuneError("collective_failed", `${both}; start all workers with --certs, or none`);
  }
}

function openConnection(dealer: Dealer, address: string, events: ConnectionEvents, onClosed: () => void): Connection {
  let open = true;
  const lose = (reason: string): void => {
    if (open) events.onLost(reason);
  };
  void watch(dealer, lose);
  try {
    dealer.connect(address);
  } catch (cause) {
    dealer.close();
    throw new RingtuneError("collective_failed", `cannot connect to ${address}: it is no address of ZeroMQ`, { cause });
  }
  void receiveAll(dealer, (parts) => {
    if (open) events.onMessage(parts);
  }).then(lose);
  const send = createSender((parts) => dealer.send(parts));
  return {
    send: (parts) => {
      if (open) send(parts);
    },
    close(mayLinger = false) {
      if (!open) return;
      open = false;
      if (mayLinger) dealer.linger = lingerMs;
      if (mayLinger) void send.idle().then(() => dealer.close());
      else dealer.close();
      onClosed();
    },
  };
}

/** Delivers every message until the socket is closed; resolves with why it ended. A throw of `onMessage` is not caught. */
async function receiveAll(socket: Router | Dealer, onMessage: (parts: Buffer[]) => void): Promise<string> {
  for (;;) {
    let parts: Buffer[];
    try {
      parts = await socket.receive();
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    onMessage(parts);
  }
}

/**
 * Calls back when the established connection breaks. Before the handshake it is not established: who does not answer yet,
 * or has not formed the generation that would let this rank in, is tried again.
 */
async function watch(dealer: Dealer, onLost: (reason: string) => void): Promise<void> {
  let established = false;
  try {
    for await (const event of dealer.events) {
      if (event.type === "handshake") established = true;
      if (event.type === "disconnect" && established) onLost("disconnected");
    }
  } catch {
    // The socket was closed.
  }
}

interface Sender {
  (parts: readonly Uint8Array[]): void;
  /** Resolves when nothing waits here any more. */
  idle(): Promise<void>;
}

/** zeromq.js takes one send at a time; the rest waits here, no more than the credit lets through. */
function createSender(send: (parts: Uint8Array[]) => Promise<void>): Sender {
  const queue: Uint8Array[][] = [];
  let draining: Promise<void> | undefined;
  const drain = async (): Promise<void> => {
    try {
      for (let parts = queue.shift(); parts !== undefined; parts = queue.shift()) await send(parts);
    } catch {
      queue.length = 0; // The socket was closed.
    } finally {
      draining = undefined;
    }
  };
  const enqueue = (parts: readonly Uint8Array[]): void => {
    queue.push([...parts]);
    draining ??= drain();
  };
  return Object.assign(enqueue, { idle: () => draining ?? Promise.resolve() });
}

function bindError(host: string, port: number, cause: unknown): RingtuneError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
  if (code === "EADDRINUSE") {
    return new RingtuneError(
      "address_in_use",
      `cannot listen on ${host}:${port} for the all-reduce: another process uses the port; choose another, or 0 for a free one`,
      { details: { host, port }, cause },
    );
  }
  return new RingtuneError(
    "collective_failed",
    `cannot listen on ${host}:${port} for the all-reduce: ${code}; is ${host} an address of this machine?`,
    { details: { host, port, code }, cause },
  );
}
