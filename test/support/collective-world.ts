// Ranks of one world in this process, over any transport, formed in one go.

import { createRingEndpoint, type RingEndpoint } from "../../worker/collective/endpoint.ts";
import type { RingOptions, SessionCollective } from "../../worker/collective/session.ts";
import { createSharedMemory } from "../../worker/collective/shared-memory/shared-memory.ts";
import { createZeroMqTransport } from "../../worker/collective/zeromq.ts";
import { createMemoryNetwork, type MemoryNetwork } from "./collective-memory.ts";

/**
 * "in process" is the network in memory, which reorders by its seed; the others are real. "hosts" are several, each with
 * shared memory.
 */
export const transportKinds = [
  "in process",
  "in process, shared memory",
  "in process, hosts",
  "tcp",
  "tcp, encrypted",
  "tcp, hosts",
  "ipc",
  "ipc, shared memory",
] as const;
export type TransportKind = (typeof transportKinds)[number];

export interface World {
  readonly network: MemoryNetwork;
  readonly endpoints: readonly RingEndpoint[];
  readonly collectives: readonly SessionCollective[];
  /** Forms a generation of the first `size` endpoints. */
  form(generation: number, size?: number): Promise<SessionCollective[]>;
  /** Takes a rank away as a death would: what it would have sent is not sent, and its connections break. */
  lose(rank: number): Promise<void>;
  close(): Promise<void>;
}

export interface WorldOptions extends Partial<RingOptions> {
  readonly seed: number;
  readonly kind?: TransportKind;
  /** The host that each rank is on, of "hosts"; by turns on two unless it is said. */
  readonly hosts?: readonly number[];
  /** Called before anything is formed, to allocate buffers. */
  readonly prepare?: (endpoints: readonly RingEndpoint[], network: MemoryNetwork) => void;
  /** The clock by which a rank measures. */
  readonly clockOf?: (rank: number) => () => number;
}

export async function formWorld(size: number, options: WorldOptions): Promise<World> {
  const { seed, kind = "in process", hosts = [], prepare, clockOf, ...ring } = options;
  const network = createMemoryNetwork(seed);
  const memory = kind.endsWith("shared memory") || kind.endsWith("hosts");
  const reach = memory ? "memory" : kind.startsWith("tcp") ? "tcp" : "ipc";
  const encrypted = kind.endsWith("encrypted");
  const endpoints = await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const host = kind.endsWith("hosts") ? `host${hosts[rank] ?? rank % 2}` : "host";
      const transport = kind.startsWith("in process")
        ? network.createTransport({ host, memory })
        : await createZeroMqTransport({ host: "127.0.0.1", hostId: host, reach, encrypted });
      // Ranks of one thread can't keep it waiting for each other.
      const options = { ...ring, ...(clockOf && { now: clockOf(rank) }) };
      return createRingEndpoint(transport, options, memory ? createSharedMemory({ blockMs: 0 }) : undefined);
    }),
  );
  prepare?.(endpoints, network);
  const form = (generation: number, members = size): Promise<SessionCollective[]> => {
    const addresses = endpoints.slice(0, members).map((endpoint) => endpoint.address);
    return Promise.all(
      endpoints
        .slice(0, members)
        .map((endpoint, rank) => endpoint.form({ jobId: "job", generation, rank, endpoints: addresses })),
    );
  };
  return {
    network,
    endpoints,
    collectives: await form(1),
    form,
    async lose(rank) {
      await endpoints[rank]!.close();
      network.cut(endpoints[rank]!.address);
    },
    async close() {
      await Promise.all(endpoints.map((endpoint) => endpoint.close()));
    },
  };
}
