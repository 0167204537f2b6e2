// The largest gradients alone (Aji and Heafield, 2017): of all, a share by magnitude, each with its place; 8 bytes for each that
// is sent. Every rank gathers what all others send and adds it up in the order of ranks. What is not sent waits in the error,
// until it is among the largest.

import { RingtuneError } from "../../common/errors.ts";
import { chunkElements } from "../collective/chunks.ts";
import { collect, findThreshold } from "../simd/largest.ts";
import { correct, type Method } from "./compressor.ts";

/** `share` of `size` gradients are sent. */
export function createTopKCompression(size: number, share: number): Method {
  const wanted = Math.max(1, Math.round(share * size));
  const chunk = Math.ceil((2 * wanted) / chunkElements) * chunkElements;
  const entries = chunk / 2;
  let gathered = new Float32Array(0);
  /** Of the step before: the next one is near it. */
  let threshold = 0;
  return {
    async reduce(exchange) {
      const { gradients, scale, next, collective, call } = exchange;
      const { rank, worldSize } = collective;
      if (gathered.length !== worldSize * chunk) gathered = new Float32Array(worldSize * chunk);
      const messageOf = (of: number): { indices: Uint32Array; found: Float32Array } => ({
        indices: new Uint32Array(gathered.buffer, 4 * of * chunk, entries),
        found: gathered.subarray(of * chunk + entries, (of + 1) * chunk),
      });
      correct(exchange);
      const { indices, found } = messageOf(rank);
      const reached = findThreshold(next, wanted, threshold);
      threshold = reached?.value ?? 0;
      const count = reached === undefined ? 0 : collect(next, reached.value, entries, { indices, found });
      // Of the rest, 0 is added to the first gradient, or what makes it known that one is not finite.
      indices.fill(0, count);
      found.fill(reached === undefined ? Number.NaN : 0, count);
      for (let entry = 0; entry < count; entry++) next[indices[entry]!] = 0;
      const stats = await collective.allGather(gathered, call(0));
      gradients.fill(0);
      // One after another, and few: a vector has no addition at places of its own.
      for (let of = 0; of < worldSize; of++) {
        const message = messageOf(of);
        for (let entry = 0; entry < entries; entry++) {
          const index = message.indices[entry]!;
          if (index >= size) throw misplaced(of, index, size);
          gradients[index]! += message.found[entry]! * scale;
        }
      }
      return [stats];
    },
    forget: () => void (threshold = 0),
    bytesPerStep: (worldSize) => (worldSize - 1) * 4 * chunk,
  };
}

function misplaced(rank: number, index: number, size: number): RingtuneError {
  return new RingtuneError(
    "collective_failed",
    `rank ${rank} sent gradient ${index} of ${size}: its message is not of this model`,
    { details: { rank, index, size } },
  );
}
