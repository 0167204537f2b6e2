// A network in memory for the ring: connections deliver in order, different connections in an order drawn from a seed.
// Like zeromq.js it does not copy what is sent: payloads are read when they are delivered, so a buffer that is written too
// early is seen as a wrong sum. A test may look at, change, drop or double every message on its way.

import { createRandom } from "../../common/random.ts";
import type { Connection, ConnectionEvents, Transport } from "../../worker/collective/transport.ts";

type Parts = readonly Uint8Array[];
type Listener = (connection: string, parts: Parts) => void;

export interface Passing {
  /** Address of the listening side. */
  readonly address: string;
  /** "forward" goes to the address, "back" is a reply to whoever connected. */
  readonly direction: "forward" | "back";
  readonly parts: Parts;
}

/** Where a process is: all are on one host, and share no memory, unless it is said. */
export interface Spot {
  readonly host?: string;
  readonly memory?: boolean;
}

export interface MemoryNetwork {
  createTransport(spot?: Spot): Transport;
  /** Replaces each message by those returned; set it at any time. */
  intercept: (passing: Passing) => readonly Parts[];
  /** Sends any message to an address, as a stranger would. */
  inject(address: string, parts: Parts): void;
  /** Breaks every connection to the address. */
  cut(address: string): void;
  /** Resolves when no message is on its way and nobody reacts any more. */
  settled(): Promise<void>;
}

interface Wire {
  readonly name: string;
  readonly address: string;
  readonly events: ConnectionEvents | undefined;
  readonly forward: Parts[];
  readonly back: Parts[];
  open: boolean;
}

export function createMemoryNetwork(seed: number): MemoryNetwork {
  const random = createRandom(seed, "memory-network");
  const listeners = new Map<string, Listener>();
  const wires = new Map<string, Wire>();
  let scheduled = false;
  let created = 0;

  const network: MemoryNetwork = {
    intercept: ({ parts }) => [parts],
    createTransport({ host = "host", memory = false } = {}) {
      const address = `mem://${created++};host=${host}${memory ? ";memory" : ""}`;
      return {
        address,
        admit: () => undefined,
        listen: (onMessage) => void listeners.set(address, onMessage),
        release: (part) => void part.fill(0xaa), // whoever reads it later gets wrong sums
        reply(name, part) {
          wires.get(name)?.back.push([part]);
          schedule();
        },
        connect: (to, events) => open(to, events),
        async close() {
          listeners.delete(address);
        },
      };
    },
    inject(address, parts) {
      open(address, undefined).send(parts);
    },
    cut(address) {
      for (const wire of wires.values()) {
        if (wire.address !== address) continue;
        disconnect(wire);
        wire.events?.onLost("cut by the test");
      }
    },
    async settled() {
      for (let quiet = 0; quiet < 3; quiet++) {
        if (busy().length > 0) quiet = 0;
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };

  function open(address: string, events: ConnectionEvents | undefined): Connection {
    const wire: Wire = { name: `wire ${wires.size}`, address, events, forward: [], back: [], open: true };
    wires.set(wire.name, wire);
    return {
      send(parts) {
        if (wire.open) wire.forward.push(parts);
        schedule();
      },
      close: (mayLinger = false) => {
        if (mayLinger) wire.open = false;
        else disconnect(wire);
      },
    };
  }

  function disconnect(wire: Wire): void {
    wire.open = false;
    wire.forward.length = 0;
    wire.back.length = 0;
  }

  function busy(): { wire: Wire; direction: "forward" | "back" }[] {
    const found: { wire: Wire; direction: "forward" | "back" }[] = [];
    for (const wire of wires.values()) {
      if (wire.forward.length > 0) found.push({ wire, direction: "forward" });
      if (wire.back.length > 0) found.push({ wire, direction: "back" });
    }
    return found;
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(deliverSome);
  }

  function deliverSome(): void {
    scheduled = false;
    for (let turn = random.integer(8); turn >= 0; turn--) {
      const ready = busy();
      const chosen = ready[random.integer(ready.length)];
      if (chosen === undefined) return;
      deliver(chosen.wire, chosen.direction);
    }
    schedule();
  }

  function deliver(wire: Wire, direction: "forward" | "back"): void {
    const parts = wire[direction].shift()!;
    for (const changed of network.intercept({ address: wire.address, direction, parts })) {
      const copies = changed.map((part) => Uint8Array.from(part));
      if (direction === "back") wire.events?.onMessage(copies);
      else listeners.get(wire.address)?.(wire.name, copies);
    }
  }

  return network;
}
