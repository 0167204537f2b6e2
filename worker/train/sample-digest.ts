// What a worker has computed on, for the coordinator's ledger: the rows of its shard and a digest of their contents. Padding
// does not count, since how much there is depends on what else is in the batch.

import { addDigests, digestOfSample, emptyDigest } from "../../common/sample-digest.ts";
import type { Microbatch } from "../engine/engine.ts";

export function digestOfSamples(microbatches: readonly Microbatch[]): { rows: number; sampleDigest: string } {
  let rows = 0;
  let sampleDigest = emptyDigest;
  for (const batch of microbatches) {
    const perRow = batch.targets.length / batch.rows;
    for (let row = 0; row < batch.rows; row++) {
      const [begin, end] = [row * batch.length, (row + 1) * batch.length];
      const mask = batch.attentionMask?.subarray(begin, end);
      const tokens = batch.inputIds.subarray(begin, end).filter((_, at) => mask === undefined || mask[at] === 1);
      const targets = batch.targets.subarray(row * perRow, (row + 1) * perRow).filter((target) => target !== -100);
      sampleDigest = addDigests(sampleDigest, digestOfSample(tokens, targets));
    }
    rows += batch.rows;
  }
  return { rows, sampleDigest };
}
