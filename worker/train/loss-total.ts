// The losses of a shard, microbatch after microbatch: their sum, and the rows that are to blame when it is not finite.

import type { LossResult } from "../engine/engine.ts";

/**
 * A sum of multiples of this is exact in double precision up to 2^29 nats, so its bits don't depend on the order and the grouping
 * in which microbatches are added, here and by the coordinator. Rounding to it costs less than 1e-7 nats a microbatch.
 */
const exactGrid = 2 ** -24;

export class LossTotal {
  /** In nats. */
  lossSum = 0;
  /** Unmasked targets. */
  tokens = 0;
  /** Rows of the shard with a loss that is NaN or infinite, ascending. */
  readonly notFiniteRows: number[] = [];
  #rows = 0;
  readonly #exactly: boolean;

  /** `exactly` rounds the sum of every microbatch so that no later addition has to. */
  constructor(exactly: boolean) {
    this.#exactly = exactly;
  }

  /** Adds the result of the next `rows` rows. */
  add({ lossSum, tokens, notFiniteRows = [] }: LossResult, rows: number): void {
    this.lossSum += this.#exactly ? Math.round(lossSum / exactGrid) * exactGrid : lossSum;
    this.tokens += tokens;
    this.notFiniteRows.push(...notFiniteRows.map((row) => this.#rows + row));
    this.#rows += rows;
  }
}
