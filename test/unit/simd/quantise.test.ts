// Packed integers of 8 bits against their definition, one by one.

import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { dequantise, groupsOf, measure, quantise, scaledTogether } from "../../../worker/simd/quantise.ts";

const lengths = [1, 255, 256, 257, 2047, 2049, 5000];

function numbers(length: number, seed: number): Float32Array {
  const random = createRandom(seed, "quantise");
  return Float32Array.from({ length }, (_, i) => random.normal() * 10 ** -(Math.floor(i / 256) % 5));
}

test.each(lengths)("measures the sums of %i values and errors, and the largest of every group", (length) => {
  const [values, errors, sums] = [numbers(length, 1), numbers(length, 2), new Float32Array(length)];
  const maxima = new Float32Array(groupsOf(length));
  measure({ values, errors, sums, maxima, scale: 0.5 });
  expect(sums).toEqual(values.map((value, i) => Math.fround(Math.fround(value * 0.5) + errors[i]!)));
  const most = Array.from(maxima, (_, group) =>
    Math.max(...sums.subarray(group * scaledTogether, (group + 1) * scaledTogether).map(Math.abs)),
  );
  expect([...maxima]).toEqual(most);
});

test("a group with NaN or infinity has no largest value", () => {
  const values = new Float32Array(600).fill(1);
  values[300] = Number.NaN;
  values[599] = -Infinity;
  const maxima = new Float32Array(3);
  measure({ values, errors: new Float32Array(600), sums: new Float32Array(600), maxima, scale: 1 });
  expect([...maxima]).toEqual([1, Number.NaN, Infinity]);
});

test.each(lengths)("sums of %i packed integers are those of the integers, for several ranks", (length) => {
  const groups = groupsOf(length);
  const steps = Float32Array.from({ length: groups }, (_, group) => 0.1 * 10 ** -(group % 5));
  const inverses = steps.map((step) => 1 / step);
  const sums = new BigInt64Array((groups * scaledTogether) / 8);
  const expected = new Float64Array(length);
  for (const rank of [0, 1, 2]) {
    const values = numbers(length, rank);
    const before = values.slice();
    const packed = new Uint8Array(groups * scaledTogether);
    quantise(values, { steps, inverses }, packed);
    new BigInt64Array(packed.buffer).forEach((long, i) => (sums[i]! += long));
    before.forEach((value, i) => {
      const group = Math.floor(i / scaledTogether);
      const product = Math.fround(value * inverses[group]!);
      const below = Math.floor(product);
      const isTie = product - below === 0.5;
      const integer = isTie ? below + Math.abs(below % 2) : Math.round(product);
      expect(values[i]).toBe(Math.fround(value - Math.fround(integer * steps[group]!)));
      expected[i]! += integer;
    });
  }
  const read = new Float32Array(length);
  dequantise(new Uint8Array(sums.buffer), steps, read, 2);
  expect([...read]).toEqual(
    [...expected].map((sum, i) => Math.fround(sum * Math.fround(2 * steps[Math.floor(i / 256)]!)) + 0),
  );
});
