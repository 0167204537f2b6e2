// How fast the links of a generation are, one pair of ranks after the other, so that none disturbs another: what doctor shows of a
// cluster. Over sockets, as between hosts; ranks that share memory exchange gradients faster than their link.

import type { Collective } from "../collective/collective.ts";

export interface MeasuredLink {
  /** Of the receiver. */
  readonly rank: number;
  readonly bytesPerSecond: number;
  readonly latencySeconds: number;
}

/** A third of a second at 100 Mb/s. */
const LARGE_BYTES = 4 * 1024 * 1024;
const SMALL_BYTES = 8;
/** Of which the fastest counts: what else a host does disturbs single ones. */
const TRIES = 4;

/** Every rank calls it. Gives the links from this rank to every other, in their order. */
export async function measureLinks(
  collective: Collective,
  { step, signal }: { readonly step: number; readonly signal: AbortSignal },
): Promise<MeasuredLink[]> {
  const { rank, worldSize } = collective;
  const small = new Uint8Array(SMALL_BYTES);
  const large = new Uint8Array(LARGE_BYTES);
  const call = { step, bucket: 0, signal };
  const links: MeasuredLink[] = [];
  for (let from = 0; from < worldSize; from++) {
    for (let to = 0; to < worldSize; to++) {
      if (from === to) continue;
      await collective.barrier(call);
      if (rank !== from && rank !== to) continue;
      const fastest = async (buffer: Uint8Array): Promise<number> => {
        let least = Infinity;
        for (let i = 0; i < TRIES; i++) {
          least = Math.min(least, (await collective.transfer(buffer, { from, to }, call)).seconds);
        }
        return least;
      };
      const latencySeconds = await fastest(small);
      const bytesPerSecond = LARGE_BYTES / (await fastest(large));
      if (rank === from) links.push({ rank: to, bytesPerSecond, latencySeconds });
    }
  }
  return links;
}
