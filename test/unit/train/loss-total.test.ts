import fc from "fast-check";
import { expect, test } from "vitest";
import { sumLosses } from "../../../worker/engine/batch.ts";
import { LossTotal } from "../../../worker/train/loss-total.ts";

const inputIds = new Int32Array(4);

test("names the rows whose loss is not finite, over all microbatches, and no others", () => {
  const total = new LossTotal(false);
  const add = (losses: number[], targets: number[]): void =>
    total.add(sumLosses(losses, { rows: 2, length: 2, inputIds, targets: Int32Array.from(targets) }), 2);
  add([1, 2, 3, 4], [5, -100, 5, 5]);
  expect(total).toMatchObject({ lossSum: 8, tokens: 3, notFiniteRows: [] });
  add([1, NaN, 3, Infinity], [5, -100, 5, 5]); // the NaN is of a masked target
  add([NaN, 1, 1, 1], [5, 5, 5, 5]);
  expect(total.lossSum).toBeNaN();
  expect(total.notFiniteRows).toEqual([3, 4]);
  expect(total.tokens).toBe(10);
});

test("an exact total has the same bits in any order and grouping, and is as near as can be seen", () => {
  const losses = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(losses, fc.nat(), (sums, salt) => {
      const totalOf = (parts: readonly number[]): number => {
        const total = new LossTotal(true);
        for (const lossSum of parts) total.add({ lossSum, tokens: 1 }, 1);
        return total.lossSum;
      };
      const cut = salt % sums.length;
      const whole = totalOf(sums);
      expect(totalOf(sums.slice(cut)) + totalOf(sums.slice(0, cut))).toBe(whole);
      expect(totalOf(sums.toReversed())).toBe(whole);
      const plain = sums.reduce((so, each) => so + each, 0);
      expect(Math.abs(whole - plain)).toBeLessThan(1e-7 * sums.length + 1e-12 * plain);
    }),
  );
});
