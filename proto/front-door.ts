// The coordinator's port before gRPC: takes TCP connections and passes them on, no more than a limit, and closes those that
// do not turn out to be a worker's in time. gRPC itself takes every connection and waits for ever for what it will say.

import { createServer, type AddressInfo, type Socket } from "node:net";

/**
 * Why a connection was closed or a message refused before anybody answered it; values of a metric's label. silent: nobody joined on
 * it in time. crowded: too many were waiting to join, and it came first. full: there were as many as there may be. unreadable: what
 * it sent is too large, or no message of ours. unread: it does not read what it is sent.
 */
export const refusals = ["silent", "crowded", "full", "unreadable", "unread"] as const;
export type Refusal = (typeof refusals)[number];

export interface FrontDoor {
  readonly port: number;
  /** The connection from this address (host:port) is a worker's: it may stay. */
  prove(peer: string): void;
  /** Closes the connection from this address, and forgets what was to be sent on it. */
  cut(peer: string): void;
  /** Takes no more connections. */
  close(): void;
}

/** Twice the largest cluster: a worker that calls again may come before its old connection is known to be gone. */
const MAX_CONNECTIONS = 8192;
/** Connections that are nobody's yet; the oldest gives way. A whole cluster may come at once. */
const MAX_UNPROVEN = 1024;
/** Time for a handshake of TLS and a join, by default. */
const PROVE_WITHIN_MS = 20_000;
/** Strangers are no reason for more lines than this in the log. */
const SAY_EVERY_MS = 60_000;

/**
 * Throws what `listen` throws. `refused` hears of every connection that is closed here, `noticed` gets a sentence about them now and
 * then.
 */
export async function openFrontDoor(options: {
  readonly host: string;
  readonly port: number;
  readonly connection: (socket: Socket) => void;
  readonly refused: (why: Refusal) => void;
  readonly noticed: (sentence: string) => void;
  readonly proveWithinMs?: number | undefined;
}): Promise<FrontDoor> {
  const { host, port, connection, refused, noticed, proveWithinMs = PROVE_WITHIN_MS } = options;
  const sockets = new Map<string, Socket>();
  /** In order of arrival. */
  const unproven = new Map<string, NodeJS.Timeout>();
  const closed = { silent: 0, crowded: 0, full: 0 };
  let saidMs = Number.NEGATIVE_INFINITY;

  const say = (): void => {
    if (performance.now() - saidMs < SAY_EVERY_MS) return;
    saidMs = performance.now();
    const reasons = [
      [closed.silent, `did not join within ${proveWithinMs / 1000} s`],
      [closed.crowded, `had not joined when more than ${MAX_UNPROVEN} were waiting`],
      [closed.full, `came when there were ${MAX_CONNECTIONS}`],
    ] as const;
    const told = reasons.flatMap(([count, why]) => (count === 0 ? [] : [`${count} that ${why}`]));
    noticed(`closed connections of strangers so far: ${told.join(", ")}`);
  };
  const count = (why: keyof typeof closed): void => {
    closed[why]++;
    refused(why);
    say();
  };
  const refuse = (peer: string, why: keyof typeof closed): void => {
    sockets.get(peer)?.destroy();
    count(why);
  };
  const prove = (peer: string): void => {
    clearTimeout(unproven.get(peer));
    unproven.delete(peer);
  };

  const server = createServer({ noDelay: true }, (socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    sockets.set(peer, socket);
    unproven.set(peer, setTimeout(() => refuse(peer, "silent"), proveWithinMs).unref());
    socket.on("error", () => undefined); // gRPC hears of it too
    socket.once("close", () => {
      prove(peer);
      sockets.delete(peer);
    });
    connection(socket);
    const [oldest] = unproven.keys();
    if (unproven.size > MAX_UNPROVEN && oldest !== undefined) refuse(oldest, "crowded");
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("drop", () => count("full"));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // A cluster that comes at once would overflow the kernel's usual queue of 511, and then be heard seconds later.
    server.listen({ host, port, backlog: MAX_UNPROVEN }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    prove,
    cut: (peer) => void sockets.get(peer)?.destroy(),
    close() {
      server.close();
      for (const peer of unproven.keys()) sockets.get(peer)?.destroy();
    },
  };
}
