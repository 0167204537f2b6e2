// Halves against the definition of their formats, worked out in double precision one by one.

import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createHalfCodec, type HalfFormat } from "../../../worker/simd/half.ts";
import { addNumbers, createSummable } from "../../../worker/simd/sum.ts";

const formats = {
  bfloat16: { fraction: 7, least: -126, largest: 2 ** 127 * (2 - 2 ** -7) },
  float16: { fraction: 10, least: -14, largest: 65504 },
} as const;

/** The number nearest to `value` that the format has, of two the one with an even last bit. */
function nearest(format: HalfFormat, value: number): number {
  const { fraction, least, largest } = formats[format];
  if (Number.isNaN(value) || value === 0) return value + 0;
  const exponent = Math.max(least, Math.floor(Math.log2(Math.abs(value))));
  const unit = 2 ** (exponent - fraction);
  const units = Math.abs(value) / unit;
  const below = Math.floor(units);
  const rounded = (units - below === 0.5 ? below + (below % 2) : Math.round(units)) * unit;
  return Math.sign(value) * (rounded > largest ? Infinity : rounded) + 0;
}

/** The number that 16 bits stand for. */
function decoded(format: HalfFormat, bits: number): number {
  const { fraction, least } = formats[format];
  const sign = bits & 0x8000 ? -1 : 1;
  const magnitude = bits & 0x7fff;
  const exponent = magnitude >> fraction;
  const rest = magnitude & (2 ** fraction - 1);
  if (exponent === 2 ** (15 - fraction) - 1) return rest === 0 ? sign * Infinity : Number.NaN;
  // Of zeros, errors that are added leave the positive one.
  if (exponent === 0) return sign * rest * 2 ** (least - fraction) + 0;
  return sign * (2 ** fraction + rest) * 2 ** (least - fraction + exponent - 1);
}

function encode(
  format: HalfFormat,
  values: Float32Array,
  limit = Infinity,
): { halves: Uint16Array; next: Float32Array } {
  const [errors, next] = [new Float32Array(values.length), new Float32Array(values.length)];
  const halves = new Uint16Array(values.length);
  createHalfCodec(format).encode({ gradients: values, errors, next, halves, scale: 1, gain: 1, limit });
  return { halves, next };
}

test.each(["bfloat16", "float16"] as const)(
  "every %s is read as what it stands for, and written as itself",
  (format) => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    const values = new Float32Array(all.length);
    createHalfCodec(format).decode(all, values, 1);
    expect([...values].map((value) => value + 0)).toEqual([...all].map((bits) => decoded(format, bits)));
    const { halves } = encode(format, values);
    expect([...halves].map((bits) => decoded(format, bits))).toEqual([...values].map((value) => value + 0));
  },
);

test.each(["bfloat16", "float16"] as const)("float32 is rounded to the nearest %s, ties to even", (format) => {
  const random = createRandom(1, "half");
  const values = Float32Array.from({ length: 5001 }, (_, i) => {
    const magnitude = 2 ** (random.next() * 44 - 28);
    // Some in the middle between two.
    return (
      (random.next() < 0.5 ? -1 : 1) *
      (i % 3 === 0 ? nearest(format, magnitude) * (1 + 2 ** -(i % 2 ? 8 : 11)) : magnitude)
    );
  });
  values.set([0, 65519, 65520, 1e6, 2 ** -25, 1.5 * 2 ** -24, 2 ** -24, 3e-8]);
  const { halves, next } = encode(format, values);
  const got = [...halves].map((bits) => decoded(format, bits));
  expect(got).toEqual([...values].map((value) => nearest(format, value)));
  // The rest of what became no infinity: exact in float32.
  const kept = got.map((value, i) => (Number.isFinite(value) ? values[i]! - value + 0 : 0));
  expect([...next].map((value, i) => (Number.isFinite(got[i]!) ? value + 0 : 0))).toEqual(kept);
});

test.each(["bfloat16", "float16"] as const)(
  "sums of %s are rounded once for each addition, like float32 sums",
  (format) => {
    const random = createRandom(2, "half");
    const numbers = (): Float32Array =>
      Float32Array.from({ length: 5024 }, () => nearest(format, random.normal() * 2 ** (random.integer(12) - 6)));
    const [a, b] = [numbers(), numbers()];
    const [halvesA, halvesB] = [a, b].map((values) => encode(format, values).halves) as [Uint16Array, Uint16Array];
    const expected = [...a].map((value, i) => nearest(format, Math.fround(value + b[i]!)));
    const bytes = (halves: Uint16Array): Uint8Array =>
      new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength);
    const inPlace = new Uint16Array(createSummable(a.length / 2).buffer, 0, a.length);
    inPlace.set(halvesA);
    addNumbers(format, bytes(inPlace), 0, bytes(halvesB));
    expect([...inPlace].map((bits) => decoded(format, bits))).toEqual(expected);
    addNumbers(format, bytes(halvesA), 0, bytes(halvesB));
    expect([...halvesA].map((bits) => decoded(format, bits))).toEqual(expected);
  },
);

test("what is not finite is told", () => {
  for (const value of [Infinity, -Infinity, Number.NaN]) {
    const gradients = new Float32Array(2500);
    gradients[2401] = value;
    const [errors, next, halves] = [new Float32Array(2500), new Float32Array(2500), new Uint16Array(2500)];
    const arrays = { gradients, errors, next, halves, scale: 1, gain: 1, limit: 100 };
    expect(createHalfCodec("bfloat16").encode(arrays)).toBe(false);
    gradients[2401] = 3e38;
    expect(createHalfCodec("bfloat16").encode(arrays)).toBe(true);
    expect(next[2401]).toBe(Math.fround(3e38 - 100));
  }
});
