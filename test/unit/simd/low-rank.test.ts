// Thin products against sums in double precision. Tolerance: float32 sums of at most 300 terms.

import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createLowRank } from "../../../worker/simd/low-rank.ts";

function numbers(length: number, seed: number): Float32Array {
  const random = createRandom(seed, "low rank");
  return Float32Array.from({ length }, () => random.normal());
}

test.each([
  { rows: 1, columns: 1, rank: 1 },
  { rows: 7, columns: 5, rank: 2 },
  { rows: 300, columns: 64, rank: 4 },
  { rows: 33, columns: 301, rank: 5 },
  { rows: 2, columns: 20_000, rank: 3 },
])("computes the products of a $rows x $columns matrix at rank $rank", ({ rows, columns, rank }) => {
  // Room for a wider one.
  const lowRank = createLowRank(rank, columns + 9);
  const values = numbers(rows * columns, 1);
  const matrix = { values, rows, columns };
  const [p, q] = [numbers(rows * rank, 2), numbers(rank * columns, 3)];
  const at = (i: number, j: number): number => values[i * columns + j]!;
  const thin = (i: number, j: number): number => sum(rank, (k) => p[i * rank + k]! * q[k * columns + j]!);
  const near = (found: Float32Array, expected: (index: number) => number): void => {
    const worst = found.reduce((most, value, index) => Math.max(most, Math.abs(value - expected(index))), 0);
    expect(worst).toBeLessThan(1e-5 * Math.max(rows, Math.sqrt(columns)));
  };

  const projected = new Float32Array(rows * rank);
  lowRank.project(matrix, q, projected);
  near(projected, (index) => {
    const [i, k] = [Math.floor(index / rank), index % rank];
    return sum(columns, (j) => at(i, j) * q[k * columns + j]!);
  });

  const accumulated = new Float32Array(rank * columns);
  lowRank.accumulate(matrix, p, accumulated);
  near(accumulated, (index) => {
    const [k, j] = [Math.floor(index / columns), index % columns];
    return sum(rows, (i) => at(i, j) * p[i * rank + k]!);
  });

  const expanded = new Float32Array(rows * columns);
  lowRank.expand({ values: expanded, rows, columns }, p, q);
  near(expanded, (index) => thin(Math.floor(index / columns), index % columns));

  const rest = values.slice();
  lowRank.subtract({ values: rest, rows, columns }, p, q);
  near(rest, (index) => values[index]! - thin(Math.floor(index / columns), index % columns));
});

function sum(count: number, term: (index: number) => number): number {
  let total = 0;
  for (let index = 0; index < count; index++) total += term(index);
  return total;
}
