// The masks of dropout: against numbers that another program drew by the same definition, and as the chance that they
// stand for.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { drawMask } from "../../../worker/engine/dropout-masks.ts";

interface Golden {
  readonly seed: number;
  readonly step: number;
  readonly first_row: number;
  readonly mask: number[][];
}

const golden = JSON.parse(readFileSync(new URL("../../golden/regularised.json", import.meta.url), "utf8")) as Golden;

function draw(size: number, change: Partial<Parameters<typeof drawMask>[1]> = {}): Uint8Array {
  const mask = new Uint8Array(size).fill(9);
  drawMask(mask, { seed: 1, place: "here", rate: 0.1, rows: 1, draw: { step: 1, firstRow: 0 }, ...change });
  return mask;
}

test("draws what the reference draws", () => {
  const mask = draw(74, {
    seed: golden.seed,
    ...{ place: "somewhere", rate: 0.5, rows: 2, draw: { step: golden.step, firstRow: golden.first_row } },
  });
  expect([...mask]).toEqual(golden.mask.flat());
});

test.each([0.01, 0.1, 0.5, 0.9])("keeps a share of 1 - %f, as independent draws would", (rate) => {
  const size = 300_001;
  const mask = draw(size, { rate });
  expect(mask.every((value) => value === 0 || value === 1)).toBe(true);
  const keep = 1 - rate;
  // Five standard deviations of a mean of independent draws, of blocks, and of the products of neighbours.
  const bound = 5 * Math.sqrt((keep * rate) / size);
  const mean = (values: Uint8Array | number[]): number => {
    let sum = 0;
    for (const value of values) sum += value;
    return sum / values.length;
  };
  expect(Math.abs(mean(mask) - keep)).toBeLessThan(bound);
  for (const lag of [1, 2, 8, 16, 4096, 32_768]) {
    const products = mask.subarray(lag).map((value, i) => value * mask[i]!);
    const deviation = Math.sqrt((keep * keep * (1 - keep * keep)) / products.length);
    expect(Math.abs(mean(products) - keep * keep), `lag ${lag}`).toBeLessThan(10 * deviation);
  }
  const blocks = Array.from({ length: 300 }, (_, i) => mean(mask.subarray(1000 * i, 1000 * (i + 1))));
  const variance = mean(blocks.map((block) => (block - keep) ** 2)) / ((keep * rate) / 1000);
  expect(variance).toBeGreaterThan(0.7);
  expect(variance).toBeLessThan(1.3);
});

test("depends on seed, place, step and row, and on nothing else", () => {
  const size = 40_000;
  const first = draw(size);
  expect(draw(size)).toEqual(first);
  expect(draw(100)).toEqual(first.subarray(0, 100));
  const others = [
    draw(size, { seed: 2 }),
    draw(size, { seed: 2 ** 32 + 1 }),
    draw(size, { place: "there" }),
    draw(size, { draw: { step: 2, firstRow: 0 } }),
    draw(size, { draw: { step: 1, firstRow: 1 } }),
  ];
  for (const other of others) {
    // Two independent masks of 0.1 agree in 82 of 100 places.
    const share = other.reduce((sum, value, i) => sum + Number(value === first[i]), 0) / size;
    expect(Math.abs(share - 0.82)).toBeLessThan(0.01);
  }
  const rows = draw(3 * 1001, { rows: 3 });
  expect(rows.subarray(1001, 2002)).toEqual(draw(1001, { draw: { step: 1, firstRow: 1 } }));
});
