// A TCP connection that can be cut: stands between one worker and the coordinator, and passes bytes on until it is told to
// hold them back, to delay them, or to break off. Held bytes are kept and arrive when the connection heals, as TCP's own
// retransmission has it. Understands nothing of what it carries.

import { connect, createServer, type Socket } from "node:net";

export type Direction = "up" | "down";

export interface Proxy {
  /** host:port to give to the worker. */
  readonly address: string;
  /** Where the coordinator listens from now on. */
  retarget(address: string): void;
  /** Resets the open connections; says how many there were. */
  reset(): number;
  /** New connections are reset as long as this is on. */
  refuse(on: boolean): void;
  /** Holds back what travels in these directions; those left out flow. */
  hold(directions: readonly Direction[]): void;
  /** Delays everything by so many milliseconds. */
  delay(ms: number): void;
  /** Chunks that were held back or delayed, since the proxy was made. */
  readonly disturbed: number;
  close(): Promise<void>;
}

/** A sender is stopped when so many bytes wait. */
const MAX_WAITING_BYTES = 4 << 20;

/** Listens on a free port of loopback. */
export async function openProxy(target: string): Promise<Proxy> {
  let to = parseHostPort(target);
  let refusing = false;
  let delayMs = 0;
  let disturbed = 0;
  const held = new Set<Direction>();
  const lanes = new Set<Lane>();
  const sockets = new Set<Socket>();

  const lane = (direction: Direction, from: Socket, into: Socket): void => {
    const own = createLane(from, into, {
      isHeld: () => held.has(direction),
      delayMs: () => delayMs,
      onDisturbed: () => disturbed++,
    });
    lanes.add(own);
    into.once("close", () => lanes.delete(own));
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (worker) => {
    worker.on("error", () => undefined);
    if (refusing) return breakOff(worker);
    const coordinator = connect({ ...to, allowHalfOpen: true, noDelay: true });
    // Nobody listens there: the worker's connection can no longer be refused, but it ends as if it was.
    coordinator.on("error", () => breakOff(worker));
    for (const socket of [worker, coordinator]) {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    }
    lane("up", worker, coordinator);
    lane("down", coordinator, worker);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const bound = server.address();
  const reset = (): number => {
    const open = [...sockets];
    open.forEach(breakOff);
    return open.length / 2;
  };
  return {
    address: `127.0.0.1:${typeof bound === "object" ? bound?.port : 0}`,
    retarget: (address) => (to = parseHostPort(address)),
    reset,
    refuse: (on) => (refusing = on),
    hold(directions) {
      held.clear();
      for (const direction of directions) held.add(direction);
      for (const each of lanes) each.pump();
    },
    delay: (ms) => (delayMs = ms),
    get disturbed() {
      return disturbed;
    },
    async close() {
      reset();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * By a reset. Not where the end has been sent or nothing is connected yet: there libuv refuses a reset, and Node.js would wait
 * for that socket for ever when the program ends.
 */
function breakOff(socket: Socket): void {
  if (socket.connecting || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

interface Lane {
  /** Passes on what is due. */
  pump(): void;
}

interface Rules {
  readonly isHeld: () => boolean;
  readonly delayMs: () => number;
  readonly onDisturbed: () => void;
}

/** One direction of one connection. The end of the sender is the last thing that travels, and is held like bytes. */
function createLane(from: Socket, into: Socket, { isHeld, delayMs, onDisturbed }: Rules): Lane {
  const waiting: { readonly chunk: Buffer | "end"; readonly dueMs: number }[] = [];
  let bytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const pump = (): void => {
    clearTimeout(timer);
    while (waiting.length > 0 && !isHeld()) {
      const { chunk, dueMs } = waiting[0]!;
      const early = dueMs - performance.now();
      if (early > 0) return void (timer = setTimeout(pump, early));
      waiting.shift();
      if (chunk === "end") into.end();
      else {
        bytes -= chunk.length;
        into.write(chunk);
      }
    }
    if (bytes < MAX_WAITING_BYTES && from.isPaused()) from.resume();
  };
  const push = (chunk: Buffer | "end"): void => {
    const delay = delayMs();
    if (delay > 0 || isHeld()) onDisturbed();
    waiting.push({ chunk, dueMs: performance.now() + delay });
    if (chunk !== "end" && (bytes += chunk.length) >= MAX_WAITING_BYTES) from.pause();
    pump();
  };
  from.on("data", push);
  from.on("end", () => push("end"));
  from.once("close", (hadError) => {
    // A reset is known to the other side, unless nothing passes.
    if (hadError && !isHeld()) into.destroy();
    else if (!from.readableEnded) push("end");
  });
  into.once("close", () => clearTimeout(timer));
  return { pump };
}

/** Of "host:port"; an IPv6 host stands in brackets. */
function parseHostPort(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`tcp://${address}`);
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port) };
}
