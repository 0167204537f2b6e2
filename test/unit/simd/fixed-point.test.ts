// The SIMD conversion against exact rational arithmetic with BigInt.

import fc from "fast-check";
import { expect, test } from "vitest";
import { addFixedPoint, readFixedPoint } from "../../../worker/simd/fixed-point.ts";

const k = 48;

/** value * 2^k / scale, to the nearest integer, ties to even; `value` a double, scale a power of two. */
function exact(value: number, scale: number): bigint {
  // A float32 has no bit below 2^-149.
  const whole = BigInt(value * 2 ** 149);
  const [numerator, denominator] = [whole * 2n ** 48n, 2n ** 149n * BigInt(scale)];
  const floor = numerator / denominator - (numerator < 0n && numerator % denominator !== 0n ? 1n : 0n);
  const twice = 2n * (numerator - floor * denominator);
  return twice > denominator || (twice === denominator && floor % 2n !== 0n) ? floor + 1n : floor;
}

const float32 = fc.oneof(
  fc.float({ noNaN: true, min: -16384, max: 16384 }),
  fc.float({ noNaN: true, min: Math.fround(-1e-9), max: Math.fround(1e-9) }),
  // Halves of the resolution: ties.
  fc.integer({ min: -50, max: 50 }).map((halves) => halves * 2 ** -49),
);

test("every value becomes the nearest multiple of the resolution, ties to even, and sums are exact", () => {
  fc.assert(
    fc.property(
      fc.array(float32, { maxLength: 30 }),
      fc.array(float32, { maxLength: 30 }),
      fc.constantFrom(1, 2, 65536),
      (a, b, scale) => {
        const length = Math.max(a.length, b.length);
        const [first, second] = [a, b].map((values) => Float32Array.from({ length }, (_, i) => values[i] ?? 0));
        const sums = new BigInt64Array(length).fill(99n);
        const limit = 16384 * scale;
        expect(addFixedPoint(sums, first!, { k, scale, limit, first: true })).toBe(true);
        expect(addFixedPoint(sums, second!, { k, scale, limit, first: false })).toBe(true);
        const expected = Array.from(sums, (_, i) => exact(first![i]!, scale) + exact(second![i]!, scale));
        expect([...sums]).toEqual(expected);
      },
    ),
    { numRuns: 500 },
  );
});

test("what is read back is the float32 nearest to the sum", () => {
  const largest = 2n ** 62n;
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.bigInt({ min: -largest, max: largest }), fc.bigInt({ min: -99n, max: 99n })), {
        maxLength: 30,
      }),
      fc.constantFrom(1, 1024),
      (integers, scale) => {
        const values = new Float32Array(integers.length).fill(7);
        readFixedPoint(BigInt64Array.from(integers), values, { k, scale });
        expect([...values]).toEqual(integers.map((integer) => Math.fround((Number(integer) / 2 ** k) * scale)));
      },
    ),
    { numRuns: 500 },
  );
});

test("long buffers are converted in every block", () => {
  const values = Float32Array.from({ length: 10_001 }, (_, i) => Math.fround(Math.sin(i) / (1 + (i % 97))));
  const sums = new BigInt64Array(values.length);
  for (const first of [true, false]) addFixedPoint(sums, values, { k, scale: 1, limit: 1, first });
  expect([...sums]).toEqual(Array.from(values, (value) => 2n * exact(value, 1)));
  const back = new Float32Array(values.length);
  readFixedPoint(sums, back, { k, scale: 1 });
  expect([...back]).toEqual(Array.from(values, (value) => Math.fround(Math.round(value * 2 ** 48) / 2 ** 47)));
});

test("a value beyond the limit, an infinity and NaN are noticed wherever they are", () => {
  for (const length of [1, 4, 5, 2048, 2049, 5000]) {
    for (const at of [0, length - 1, Math.floor(length / 2)]) {
      for (const bad of [8.001, -8.001, Infinity, -Infinity, Number.NaN]) {
        const values = new Float32Array(length).fill(8);
        const options = { k, scale: 1, limit: 8, first: true };
        expect(addFixedPoint(new BigInt64Array(length), values, options)).toBe(true);
        values[at] = bad;
        expect(addFixedPoint(new BigInt64Array(length), values, options)).toBe(false);
      }
    }
  }
  const infinite = Float32Array.of(Infinity);
  expect(addFixedPoint(new BigInt64Array(1), infinite, { k, scale: 2 ** 120, limit: Infinity, first: true })).toBe(
    false,
  );
});
