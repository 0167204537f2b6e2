// The gradient of a batch with the same bits however its microbatches are divided over workers: each microbatch's float32
// gradient is added to integers of 64 bits (simd/fixed-point.ts), those are summed over the ranks, and the sum becomes float32
// once. Integer sums are exact, so neither order nor grouping, path or number of ranks matters.
//
// A gradient is that of the mean loss over the batch, so its elements are of a size that does not depend on the batch. The
// resolution is 2^-48 = 3.6e-15: elements down to 3e-8 keep all bits of a float32, and those of Adam's epsilon, 1e-8, are
// as near as a float32 is. For a sum of N microbatches never to overflow, each may have elements up to 2^62 / N steps of that,
// 16384 / N: so each microbatch's own mean gradient may have elements up to 16384. What is larger is refused by name.
//
// Infinities and NaN can't be integers. One more integer counts the microbatches that had them, and if that is not 0 after the
// all-reduce, the gradient is NaN on all ranks: what follows (skipped steps of float16, who is to blame) is as ever.

import { RingtuneError } from "../../common/errors.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { addFixedPoint, fixedPointBits, readFixedPoint } from "../simd/fixed-point.ts";
import type { GradientExchange } from "./gradient-exchange.ts";
import { globalNorm } from "./summary.ts";

/** Integers are multiples of 2^-k. */
const k = 48;

/** `gradients` is where the engine writes those of a microbatch. `add` throws `not_finite` for elements that are finite and too large. */
export function createIdenticalGradients(
  gradients: Float32Array,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): GradientExchange {
  const { length } = gradients;
  const memory = endpoint.allocate(2 * (length + 1));
  const integers = new BigInt64Array(memory.buffer, memory.byteOffset, length + 1);
  const sums = integers.subarray(0, length);
  let scale = 1;
  let largest = 0;
  let first = true;
  let notFinite = 0;
  return {
    gradients,
    accumulates: false,
    begin(step) {
      scale = step.scale;
      largest = 2 ** (fixedPointBits - k) / Math.max(1, step.microbatches);
      first = true;
      notFinite = 0;
    },
    add(what) {
      const fits = addFixedPoint(sums, gradients, { k, scale, limit: largest * scale, first });
      first = false;
      if (fits) return;
      if (Number.isFinite(globalNorm(gradients))) throw tooLarge(what, gradients, scale, largest);
      notFinite++;
    },
    async reduce(collective, call) {
      if (first) sums.fill(0n);
      integers[length] = BigInt(notFinite);
      const stats = await collective.allReduce(integers, call);
      if (integers[length] === 0n) readFixedPoint(sums, gradients, { k, scale });
      else gradients.fill(Number.NaN);
      return stats;
    },
  };
}

function tooLarge(what: string, gradients: Float32Array, scale: number, limit: number): RingtuneError {
  const found = gradients.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / scale;
  const both = `the gradient of ${what} has an element of ${found.toPrecision(3)}, and train.bit_identical sums elements up to ${limit.toPrecision(3)}`;
  return new RingtuneError(
    "not_finite",
    `${both}; lower train.learning_rate, lengthen the warmup, or train without train.bit_identical`,
    { details: { found, limit } },
  );
}
