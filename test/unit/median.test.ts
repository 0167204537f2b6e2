import { expect, test } from "vitest";
import { median, quantile } from "../../common/median.ts";

test("a quantile is a value that was measured", () => {
  expect([0, 0.5, 0.95, 1].map((q) => quantile([3, 1, 2, 4], q))).toEqual([1, 2, 4, 4]);
  expect(quantile([], 0.5)).toBeNaN();
});

test("the median is the one in the middle, or between the two", () => {
  expect([[3, 1, 2], [3, 1, 2, 4], []].map(median)).toEqual([2, 2.5, Number.NaN]);
});
