// Gradients as bfloat16 or float16: half the bytes. The ranks' messages are summed as they are, by an all-reduce of such numbers,
// which rounds every sum; those roundings, one in 2^9 or 2^12 of a sum, are not part of anybody's error.
//
// float16 has few small numbers, and gradients of mean losses are small, so they travel multiplied by 1024: from 64 / ranks, at
// which they are cut (the error keeps the rest), down to 6e-11.

import type { CollectiveEndpoint } from "../collective/collective.ts";
import { createHalfCodec, type HalfFormat } from "../simd/half.ts";
import { strideBytes } from "../simd/sum.ts";
import { allReduceBytes, type Method } from "./compressor.ts";

const formats = {
  bfloat16: { gain: 1, largest: 3e38, notANumber: 0x7fc0 },
  float16: { gain: 1024, largest: 65504, notANumber: 0x7e00 },
} as const;

export function createHalfCompression(
  format: HalfFormat,
  size: number,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): Method {
  const { gain, largest, notANumber } = formats[format];
  const codec = createHalfCodec(format);
  const bytes = Math.ceil((2 * size) / strideBytes) * strideBytes;
  const memory = endpoint.allocate(bytes / 4);
  const values = new Uint16Array(memory.buffer, memory.byteOffset, bytes / 2);
  const halves = values.subarray(0, size);
  return {
    async reduce({ gradients, scale, errors, next, collective, call }) {
      // What is behind the last gradient was summed too.
      values.fill(0, size);
      const limit = largest / collective.worldSize;
      const isFinite = codec.encode({ gradients, errors, next, halves, scale: 1 / scale, gain, limit });
      if (!isFinite) halves[0] = notANumber;
      const stats = await collective.allReduce({ format, values }, call(0));
      codec.decode(halves, gradients, scale / gain);
      return [stats];
    },
    bytesPerStep: (worldSize) => allReduceBytes(bytes, worldSize),
  };
}
