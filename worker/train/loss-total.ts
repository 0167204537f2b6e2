// The losses of a shard, microbatch after microbatch: their sum, and the rows that are to blame when it is not finite.

import type { LossResult } from "../engine/engine.ts";

export class LossTotal {
  /** In nats. */
  lossSum = 0;
  /** Unmasked targets. */
  tokens = 0;
  /** Rows of the shard with a loss that is NaN or infinite, ascending. */
  readonly notFiniteRows: number[] = [];
  #rows = 0;

  /** Adds the result of the next `rows` rows. */
  add({ lossSum, tokens, notFiniteRows = [] }: LossResult, rows: number): void {
    this.lossSum += lossSum;
    this.tokens += tokens;
    this.notFiniteRows.push(...notFiniteRows.map((row) => this.#rows + row));
    this.#rows += rows;
  }
}
