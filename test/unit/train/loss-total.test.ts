import { expect, test } from "vitest";
import { sumLosses } from "../../../worker/engine/batch.ts";
import { LossTotal } from "../../../worker/train/loss-total.ts";

const inputIds = new Int32Array(4);

test("names the rows whose loss is not finite, over all microbatches, and no others", () => {
  const total = new LossTotal();
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
