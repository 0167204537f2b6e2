// Ranks of one ring on the network in memory, formed in one go.

import { createRingEndpoint, type RingEndpoint } from "../../worker/collective/endpoint.ts";
import type { RingCollective, RingOptions } from "../../worker/collective/ring-collective.ts";
import { createMemoryNetwork, type MemoryNetwork } from "./collective-memory.ts";

export interface World {
  readonly network: MemoryNetwork;
  readonly endpoints: readonly RingEndpoint[];
  readonly collectives: readonly RingCollective[];
  /** Forms a generation of the first `size` endpoints. */
  form(generation: number, size?: number): Promise<RingCollective[]>;
  close(): Promise<void>;
}

export async function formWorld(size: number, options: Partial<RingOptions> & { seed: number }): Promise<World> {
  const { seed, ...ring } = options;
  const network = createMemoryNetwork(seed);
  const endpoints = Array.from({ length: size }, () => createRingEndpoint(network.createTransport(), ring));
  const form = (generation: number, members = size): Promise<RingCollective[]> => {
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
    async close() {
      await Promise.all(endpoints.map((endpoint) => endpoint.close()));
    },
  };
}
