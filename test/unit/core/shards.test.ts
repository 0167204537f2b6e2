// How batches are divided, for any speeds, units and sizes, against what must hold and against every other division.

import fc from "fast-check";
import { expect, test } from "vitest";
import { equally, shardsOf } from "../../../coordinator/core/shards.ts";

const speeds = fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), { minLength: 1, maxLength: 8 });
const range = fc.record({ start: fc.nat(1000), rows: fc.nat(200) });
const unit = fc.integer({ min: 1, max: 9 });

test("equal ranks differ by one row at most, and the first get more", () => {
  expect(shardsOf({ start: 10, rows: 7 }, equally(3))).toEqual([
    { start: 10, rows: 3 },
    { start: 13, rows: 2 },
    { start: 15, rows: 2 },
  ]);
  expect(shardsOf({ start: 0, rows: 1 }, equally(3)).map(({ rows }) => rows)).toEqual([1, 0, 0]);
});

test("whole microbatches, of which the last may be shorter, and ranks for which there is none", () => {
  expect(shardsOf({ start: 20, rows: 10 }, equally(2), 4)).toEqual([
    { start: 20, rows: 8 },
    { start: 28, rows: 2 },
  ]);
  expect(shardsOf({ start: 0, rows: 7 }, equally(3), 4).map(({ rows }) => rows)).toEqual([4, 3, 0]);
});

test("a rank without a speed gets nothing", () => {
  expect(shardsOf({ start: 0, rows: 5 }, [0, 1, 0, 1]).map(({ rows }) => rows)).toEqual([0, 3, 0, 2]);
  expect(shardsOf({ start: 0, rows: 1 }, [0, 1, 1]).map(({ rows }) => rows)).toEqual([0, 1, 0]);
});

test("a rank of twice the speed gets twice the rows", () => {
  expect(shardsOf({ start: 0, rows: 12 }, [1, 2, 1]).map(({ rows }) => rows)).toEqual([3, 6, 3]);
  expect(shardsOf({ start: 0, rows: 12 }, [1, 1000]).map(({ rows }) => rows)).toEqual([1, 11]);
});

test("parts are the whole, in order, cut only between units, and nobody is left out who need not be", () => {
  fc.assert(
    fc.property(range, speeds, unit, (whole, speeds, unit) => {
      const shards = shardsOf(whole, speeds, unit);
      let at = whole.start;
      for (const { start, rows } of shards) {
        expect(start).toBe(at);
        expect(rows).toBeGreaterThanOrEqual(0);
        at += rows;
        if (at < whole.start + whole.rows) expect((at - whole.start) % unit).toBe(0);
      }
      expect(at).toBe(whole.start + whole.rows);
      expect(shards.length).toBe(speeds.length);
      if (Math.ceil(whole.rows / unit) >= speeds.length) expect(shards.every(({ rows }) => rows > 0)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

test("who is faster never gets less, and no other division is done earlier", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 3, max: 20 }),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 3, maxLength: 3 }),
      (rows, speeds) => {
        const shards = shardsOf({ start: 0, rows }, speeds).map((shard) => shard.rows);
        for (const [i, mine] of shards.entries()) {
          for (const [j, other] of shards.entries())
            if (speeds[i]! > speeds[j]!) expect(mine).toBeGreaterThanOrEqual(other);
        }
        const timeOf = (division: readonly number[]): number =>
          Math.max(...division.map((each, rank) => each / speeds[rank]!));
        let best = Infinity;
        for (let a = 1; a <= rows - 2; a++) {
          for (let b = 1; a + b <= rows - 1; b++) best = Math.min(best, timeOf([a, b, rows - a - b]));
        }
        expect(timeOf(shards)).toBeCloseTo(best, 12);
      },
    ),
    { numRuns: 500 },
  );
});
