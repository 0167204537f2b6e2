// How many rows are computed together where several operations follow one another on the same rows. On a CPU each
// operation reads its inputs from wherever the one before left them: a block that stays in the second-level cache is
// three times as fast to pass over as a matrix of 4 MB that does not.

import type { Target, Value } from "../graph.ts";
import { sizeOf } from "./shapes.ts";

/** 256 KB of the widest matrix: half a dozen of these are in use at a time, and a core has 1 or 2 MB. */
const blockElements = 65_536;

/** Into how many equal blocks of rows to divide `inputs`, which all have as many: 1 if it does not pay. */
export function blocksOf({ provider, threads }: Target, inputs: readonly Value[]): number {
  const rows = inputs[0]!.shape[0]!;
  const largest = Math.max(...inputs.map(({ shape }) => sizeOf(shape)));
  const least = largest / (blockElements * threads);
  if (provider !== "cpu" || least <= 2) return 1;
  for (let blocks = Math.ceil(least); blocks <= 4 * least; blocks++) if (rows % blocks === 0) return blocks;
  return 1;
}
