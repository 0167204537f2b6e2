// The SIMD kernel against its definition in plain JavaScript, bit for bit, and what the digest has to notice.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { digestOf, globalNorm, summarise } from "../../../worker/train/summary.ts";

/** The definition at the head of summary.ts. */
function definition(values: Float32Array): { norm: number; digest: string } {
  const bits = new Uint32Array(values.slice().buffer);
  const squares = new Float64Array(8);
  const start = Array.from({ length: 16 }, (_, lane) => Math.imul(lane + 1, 0xc2b2ae3d) >>> 0);
  const [a, b] = [[...start], [...start]];
  const swap = (x: number): number => ((x << 16) | (x >>> 16)) >>> 0;
  for (let i = 0; i < Math.ceil(values.length / 16) * 16; i++) {
    const [x = 0, word = 0] = [values[i], bits[i]];
    squares[i % 8]! += x * x;
    a[i % 16] = swap(Math.imul(a[i % 16]! ^ word, 0x9e3779b1));
    b[i % 16] = swap(Math.imul(b[i % 16]! + word, 0x85ebca77));
  }
  const fold = (state: readonly number[]): string => {
    let h = state.reduce((sum, lane) => Math.imul(swap(sum ^ lane), 0x9e3779b1), values.length);
    h = Math.imul(h ^ (h >>> 15), 0x85ebca77);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d);
    return ((h ^ (h >>> 16)) >>> 0).toString(16).padStart(8, "0");
  };
  const [p, q, r, s, t, u, v, w] = squares as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return { norm: Math.sqrt(p + q + (r + s) + (t + u + (v + w))), digest: fold(a) + fold(b) };
}

const arrays = fc.float32Array({ maxLength: 70, noNaN: true });

test("norm and digest are those of the definition, at any length and any place in memory", () => {
  fc.assert(
    fc.property(arrays, fc.nat(5), (values, shift) => {
      const elsewhere = new Float32Array(values.length + 8).subarray(shift, shift + values.length);
      elsewhere.set(values);
      expect(summarise(elsewhere)).toEqual(definition(values));
    }),
  );
  const random = createRandom(1, "summary");
  for (const length of [0, 1, 8191, 8192, 8193, 3 * 8192, 40_001]) {
    const values = new Float32Array(length).map(() => random.normal());
    expect(summarise(values)).toEqual(definition(values));
  }
});

describe("the norm", () => {
  test("is accumulated in double precision", () => {
    const ones = new Float32Array(20_000_003).fill(1); // a float32 sum would stop at 2^24
    expect(globalNorm(ones)).toBe(Math.sqrt(20_000_003));
    expect(globalNorm(Float32Array.of(3, 0, 0, 0, 4))).toBe(5);
    expect(globalNorm(new Float32Array(0))).toBe(0);
    expect(globalNorm(Float32Array.of(3e38, 3e38)) / Math.fround(3e38)).toBeCloseTo(Math.SQRT2, 12);
  });

  test("is not finite when an element is not", () => {
    expect(globalNorm(Float32Array.of(1, NaN))).toBeNaN();
    expect(globalNorm(new Float32Array(100).fill(-Infinity, 50, 51))).toBe(Infinity);
  });
});

describe("the digest", () => {
  test("is of the bits: 0 and -0, and values and zeros behind them, differ", () => {
    expect(digestOf(Float32Array.of(1, -2, 3.5))).toMatch(/^[0-9a-f]{16}$/);
    expect(digestOf(Float32Array.of(0, 1))).not.toBe(digestOf(Float32Array.of(-0, 1)));
    expect(digestOf(Float32Array.of(1, 0))).not.toBe(digestOf(Float32Array.of(1)));
    expect(digestOf(new Float32Array(1))).not.toBe(digestOf(new Float32Array(0)));
  });

  test("notices one flipped bit in both halves", () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 1, maxLength: 70 }), fc.nat(), fc.nat(31), (values, where, bit) => {
        const before = digestOf(values);
        const changed = values.slice();
        new Uint32Array(changed.buffer)[where % values.length]! ^= 1 << bit;
        const after = digestOf(changed);
        expect(after.slice(0, 8)).not.toBe(before.slice(0, 8));
        expect(after.slice(8)).not.toBe(before.slice(8));
      }),
    );
  });

  test("notices two values that changed places, and two signs that flipped, in the same lane too", () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 33, maxLength: 70, noNaN: true }),
        fc.nat(),
        fc.nat(),
        (values, i, j) => {
          const first = i % values.length;
          const second = (first + 16 * (1 + (j % 3))) % values.length;
          fc.pre(!Object.is(values[first], values[second]));
          const before = digestOf(values);
          const swapped = values.slice();
          [swapped[first], swapped[second]] = [swapped[second]!, swapped[first]!];
          expect(digestOf(swapped)).not.toBe(before);
          const flipped = values.slice();
          flipped[first] = -flipped[first]!;
          flipped[second] = -flipped[second]!;
          expect(digestOf(flipped)).not.toBe(before);
        },
      ),
    );
  });
});
