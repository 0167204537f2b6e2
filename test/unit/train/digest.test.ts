import fc from "fast-check";
import { expect, test } from "vitest";
import { digestOf } from "../../../worker/train/digest.ts";

test("equal bits have equal digests, wherever they lie in memory", () => {
  const values = Float32Array.from([1, -2, 3.5, 0, 1e-30]);
  const elsewhere = new Float32Array(9).subarray(3, 8);
  elsewhere.set(values);
  expect(digestOf(elsewhere)).toBe(digestOf(values));
  expect(digestOf(values)).toMatch(/^[0-9a-f]{16}$/);
});

test("one flipped bit changes the digest", () => {
  const arrays = fc.float32Array({ minLength: 1, maxLength: 40, noNaN: true });
  fc.assert(
    fc.property(arrays, fc.nat(), fc.nat(31), (values, where, bit) => {
      const before = digestOf(values);
      const changed = values.slice();
      new Uint32Array(changed.buffer)[where % values.length]! ^= 1 << bit;
      expect(digestOf(changed)).not.toBe(before);
    }),
  );
});

test("order and length count", () => {
  expect(digestOf(Float32Array.of(1, 2))).not.toBe(digestOf(Float32Array.of(2, 1)));
  expect(digestOf(Float32Array.of(1, 0))).not.toBe(digestOf(Float32Array.of(1)));
  expect(digestOf(Float32Array.of(0, 1))).not.toBe(digestOf(Float32Array.of(-0, 1)));
});

test("swapping two values is seen", () => {
  fc.assert(
    fc.property(fc.float32Array({ minLength: 2, maxLength: 30, noNaN: true }), fc.nat(), fc.nat(), (values, i, j) => {
      const [a, b] = [i % values.length, j % values.length];
      fc.pre(!Object.is(values[a], values[b]));
      const swapped = values.slice();
      [swapped[a], swapped[b]] = [swapped[b]!, swapped[a]!];
      expect(digestOf(swapped)).not.toBe(digestOf(values));
    }),
  );
});
