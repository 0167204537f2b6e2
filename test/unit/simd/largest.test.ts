// The largest by magnitude, against sorting.

import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { collect, findThreshold } from "../../../worker/simd/largest.ts";

function numbers(length: number): Float32Array {
  const random = createRandom(length, "largest");
  return Float32Array.from({ length }, () => random.normal() ** 5);
}

test.each([1, 3, 4095, 4096, 4099, 50_000])(
  "finds a threshold that as many of %i values reach as were wanted",
  (length) => {
    const values = numbers(length);
    for (const share of [0.001, 0.01, 0.3]) {
      const wanted = Math.max(1, Math.round(share * length));
      for (const guess of [0, 1e-9, 1e9]) {
        const threshold = findThreshold(values, wanted, guess)!;
        const reached = values.filter((value) => Math.abs(value) >= threshold.value).length;
        expect(threshold.count).toBe(reached);
        expect(reached).toBeLessThanOrEqual(wanted);
        expect(reached).toBeGreaterThanOrEqual(Math.floor(0.9 * wanted));
      }
    }
  },
);

test("collects what reaches the threshold, with its place and in order", () => {
  const values = numbers(9001);
  const [indices, found] = [new Uint32Array(9001), new Float32Array(9001)];
  const expected = [...values.keys()].filter((i) => Math.abs(values[i]!) >= 1.5);
  const count = collect(values, 1.5, 9001, { indices, found });
  expect([...indices.subarray(0, count)]).toEqual(expected);
  expect([...found.subarray(0, count)]).toEqual(expected.map((i) => values[i]));
  expect(collect(values, 1.5, 7, { indices, found })).toBe(7);
});

test("of values that are all alike some are taken", () => {
  const values = new Float32Array(1000).fill(-0.25);
  const threshold = findThreshold(values, 10, 0)!;
  expect(threshold.value).toBeLessThanOrEqual(0.25);
  const room = { indices: new Uint32Array(10), found: new Float32Array(10) };
  expect(collect(values, threshold.value, 10, room)).toBe(10);
  expect(findThreshold(new Float32Array(1000), 10, 0)?.count).toBe(0);
});

test("a value that is not finite leaves no threshold", () => {
  for (const value of [Number.NaN, Infinity]) {
    const values = numbers(5000);
    values[4321] = value;
    expect(findThreshold(values, 10, 0)).toBeUndefined();
  }
});
