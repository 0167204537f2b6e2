// The weighted sum of two arrays: what a step leaves of a gradient and an error, or of where weights begin and where they end.

import { compileKernel } from "./optimizer-kernel.ts";

export interface Weighted {
  readonly values: Float32Array;
  readonly weight: number;
}

/** Arrays: the sum, and the two. */
const kernel = compileKernel(3, ["a", "b"], ({ load, store, scalar, multiply, add }) =>
  store(0, add(multiply(load(1), scalar("a")), multiply(load(2), scalar("b")))),
);

/** `sum`, which may be one of the two, becomes a + b: arrays of one length, rounded to float32 after every operation. */
export function weightedSum(sum: Float32Array, a: Weighted, b: Weighted): void {
  kernel.run([sum, a.values, b.values], 0, sum.length, { a: a.weight, b: b.weight });
}
