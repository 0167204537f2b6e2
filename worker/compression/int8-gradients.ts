// Gradients as integers of 8 bits with a scale for every 256: a quarter of the bytes, and a hundredth for the scales. The ranks
// agree on the scales first, so that their integers can be summed as they are: eight of them in an integer of 64 bits
// (simd/quantise.ts), whose sums are exact. So the result has the same bits whatever the path and the order, nothing is rounded
// on the way, and only each rank's own rounding is left, which its error keeps.
//
//     s = sum over ranks of max |x|          all-reduce of one float32 for every 256 values
//     q = round(x / step), step = s / levels, levels = 126 - ranks / 2
//
// |sum of q| <= levels + ranks / 2 < 127, so no sum leaves its byte. The price: the 254 steps between -127 and 127 are those of
// the sum, and shared by its ranks. A rank's own values have 254 / ranks of them, and its error more to keep.

import { mostRanksOfInt8 } from "../../common/config/exchange-rules.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { dequantise, groupsOf, measure, quantise, scaledTogether } from "../simd/quantise.ts";
import { allReduceBytes, type Method } from "./compressor.ts";

/** What is smaller is sent as 0: the inverse of its step would be no float32. */
const smallest = 1e-30;

export function createInt8Compression(size: number, endpoint: Pick<CollectiveEndpoint, "allocate">): Method {
  const groups = groupsOf(size);
  const maxima = endpoint.allocate(groups);
  const memory = endpoint.allocate((groups * scaledTogether) / 4);
  const packed = new Uint8Array(memory.buffer, memory.byteOffset, groups * scaledTogether);
  const longs = new BigInt64Array(memory.buffer, memory.byteOffset, packed.length / 8);
  const steps = new Float32Array(groups);
  const inverses = new Float32Array(groups);
  return {
    async reduce({ gradients, scale, errors, next, collective, call }) {
      const { worldSize } = collective;
      if (worldSize > mostRanksOfInt8) throw tooManyRanks(worldSize);
      measure({ values: gradients, errors, sums: next, maxima, scale: 1 / scale });
      const agreed = await collective.allReduce(maxima, call(0));
      const levels = 126 - worldSize / 2;
      // One number for each 256 values. What is not finite on one rank is so in the sum, and in what is made of it.
      for (let group = 0; group < groups; group++) {
        const most = maxima[group]!;
        const isZero = most < smallest;
        steps[group] = isZero ? 0 : most / levels;
        inverses[group] = isZero ? 0 : levels / most;
      }
      quantise(next, { steps, inverses }, packed);
      const summed = await collective.allReduce(longs, call(1));
      dequantise(packed, steps, gradients, scale);
      return [agreed, summed];
    },
    bytesPerStep: (worldSize) => allReduceBytes(4 * groups + packed.length, worldSize),
  };
}

function tooManyRanks(worldSize: number): RingtuneError {
  return new RingtuneError(
    "config_invalid",
    `train.compression.method int8 shares its 254 steps among ${worldSize} workers, and ${mostRanksOfInt8} are the most; use bf16, topk or powersgd`,
    { details: { worldSize, most: mostRanksOfInt8 } },
  );
}
