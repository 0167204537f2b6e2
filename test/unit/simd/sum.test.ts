// The SIMD sums against scalar additions, of float32 and of int64.

import fc from "fast-check";
import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { addNumbers, createSummable } from "../../../worker/simd/sum.ts";

function bytesOf(numbers: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

test("adds like float32 additions, bit for bit, and touches nothing else", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constantFrom(4095, 4096, 4097, 8192, 10_001)),
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 0, max: 3 }),
      fc.nat(),
      (length, start, misalignment, seed) => {
        const random = createRandom(seed, "sum");
        const target = Float32Array.from({ length: start + length + 5 }, () => random.normal());
        const addend = Float32Array.from({ length }, () => random.normal() * 100);
        const expected = target.map((value, i) => Math.fround(value + (addend[i - start] ?? 0)));
        const moved = new Uint8Array(addend.byteLength + misalignment).subarray(misalignment);
        moved.set(bytesOf(addend));
        const inPlace = createSummable(target.length);
        inPlace.set(target);
        addNumbers("float32", bytesOf(inPlace), start * 4, moved);
        expect(Buffer.from(bytesOf(inPlace)).equals(bytesOf(expected))).toBe(true);
        addNumbers("float32", bytesOf(target), start * 4, moved);
        expect(Buffer.from(bytesOf(target)).equals(bytesOf(expected))).toBe(true);
      },
    ),
  );
});

test("infinities and NaN stay visible", () => {
  const target = Float32Array.of(1, Infinity, Infinity, Number.NaN, 3.4e38);
  addNumbers("float32", bytesOf(target), 0, bytesOf(Float32Array.of(Infinity, 1, -Infinity, 1, 3.4e38)));
  expect([...target]).toEqual([Infinity, Infinity, Number.NaN, Number.NaN, Infinity]);
});

test("adds integers of 64 bits exactly, and around the end as processors do", () => {
  fc.assert(
    fc.property(
      fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 40 }),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 7 }),
      (values, start, misalignment) => {
        const target = BigInt64Array.from({ length: start + values.length + 3 }, (_, i) => BigInt(i) ** 19n);
        const expected = target.map((value, i) => value + (values[i - start] ?? 0n));
        const moved = new Uint8Array(8 * values.length + misalignment).subarray(misalignment);
        moved.set(bytesOf(BigInt64Array.from(values)));
        const inPlace = new BigInt64Array(createSummable(2 * target.length).buffer, 0, target.length);
        inPlace.set(target);
        addNumbers("int64", bytesOf(inPlace), start * 8, moved);
        expect([...inPlace]).toEqual([...expected]);
        addNumbers("int64", bytesOf(target), start * 8, moved);
        expect([...target]).toEqual([...expected]);
      },
    ),
  );
});
