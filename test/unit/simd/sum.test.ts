// The SIMD sum against scalar float32 additions.

import fc from "fast-check";
import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { addFloats, createSummable } from "../../../worker/simd/sum.ts";

function bytesOf(floats: Float32Array): Uint8Array {
  return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
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
        addFloats(bytesOf(inPlace), start * 4, moved);
        expect(Buffer.from(bytesOf(inPlace)).equals(bytesOf(expected))).toBe(true);
        addFloats(bytesOf(target), start * 4, moved);
        expect(Buffer.from(bytesOf(target)).equals(bytesOf(expected))).toBe(true);
      },
    ),
  );
});

test("infinities and NaN stay visible", () => {
  const target = Float32Array.of(1, Infinity, Infinity, Number.NaN, 3.4e38);
  addFloats(bytesOf(target), 0, bytesOf(Float32Array.of(Infinity, 1, -Infinity, 1, 3.4e38)));
  expect([...target]).toEqual([Infinity, Infinity, Number.NaN, Number.NaN, Infinity]);
});
