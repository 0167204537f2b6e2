// How the rows of a batch are divided over the ranks: in order, in whole units, and in proportion to the ranks' speeds. Which
// speeds those are is decided in balance.ts. A unit is a row, or a microbatch where its gradient must have the same bits
// whoever computes it; then the last unit of a batch may be shorter, and is whoever's.
//
//     8 units over speeds 1, 1, 2:   rank 0 [0, 2)   rank 1 [2, 4)   rank 2 [4, 8)
//
// Each rank takes units until the slowest could not be done earlier: first what its speed earns, rounded down, and then, unit
// by unit, whoever would be done first. That makes max(units / speed) as small as whole units allow.

import type { Range } from "./job.ts";

/** Equal speeds. */
export function equally(worldSize: number): number[] {
  return new Array<number>(worldSize).fill(1);
}

/**
 * The part of each rank; the parts are `range`, in order. Everybody gets something, unless there are fewer units than ranks:
 * then the first by speed do. Of equals the lower rank gets more. `speeds` are on any scale; who has none gets nothing, and
 * somebody has.
 */
export function shardsOf(range: Range, speeds: readonly number[], unit = 1): Range[] {
  const end = range.start + range.rows;
  let start = range.start;
  return unitsOf(Math.ceil(range.rows / unit), speeds).map((units) => {
    const shard = { start, rows: Math.min(units * unit, end - start) };
    start += shard.rows;
    return shard;
  });
}

function unitsOf(total: number, speeds: readonly number[]): number[] {
  const sum = speeds.reduce((so, speed) => so + speed, 0);
  const least = total >= speeds.filter((speed) => speed > 0).length ? 1 : 0;
  const units = speeds.map((speed) => (speed === 0 ? 0 : Math.max(least, Math.floor((total * speed) / sum))));
  let left = total - units.reduce((so, each) => so + each, 0);
  for (; left > 0; left--) give(units, 1, (rank) => (units[rank]! + 1) / speeds[rank]!);
  // Those that are too slow for their one unit took more than they earned: who would be done last gives some back.
  for (; left < 0; left++) give(units, -1, (rank) => (units[rank]! > least ? -units[rank]! / speeds[rank]! : Infinity));
  return units;
}

/** Changes the units of the rank that costs least; of equals the lower one gets, and the higher one gives. */
function give(units: number[], change: 1 | -1, cost: (rank: number) => number): void {
  let best = 0;
  for (let rank = 1; rank < units.length; rank++) {
    const [mine, other] = [cost(rank), cost(best)];
    if (change > 0 ? mine < other : mine <= other) best = rank;
  }
  units[best]! += change;
}
