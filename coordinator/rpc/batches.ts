// Rows of the sample stream as they travel: token ids, targets, masks, int32 little endian. Holds the few batches that are
// planned and not yet committed, so that a batch is read once however many workers share it.

import type { Range } from "../core/job.ts";
import { collate, type Batch, type SampleDataset } from "../data/samples.ts";

/** Shard as the protocol has it. */
export interface WireShard {
  readonly rows: number;
  readonly length: number;
  readonly inputIds: Buffer;
  readonly targets: Buffer;
  /** Empty when there is none. */
  readonly attentionMask: Buffer;
  /** Empty when there are none. */
  readonly tokenTypeIds: Buffer;
}

const absent = Buffer.alloc(0);

export interface Batches {
  /** A worker's part of a batch, and the unmasked targets of the whole batch. */
  shard(batch: Range, shard: Range): { shard: WireShard; batchTokens: number };
}

/** `indexAt` names the dataset's sample at a position of the stream. */
export function createBatches(dataset: SampleDataset, indexAt: (position: number) => number, held: number): Batches {
  const recent: { readonly range: Range; readonly batch: Batch }[] = [];

  function read(range: Range): Batch {
    const known = recent.find((held) => held.range.start === range.start && held.range.rows === range.rows);
    if (known !== undefined) return known.batch;
    const positions = Array.from({ length: range.rows }, (_, row) => range.start + row);
    const samples = positions.map((position) => dataset.sample(indexAt(position), position));
    const batch = collate(samples, dataset);
    recent.push({ range, batch });
    if (recent.length > held) recent.shift();
    return batch;
  }

  return {
    shard(range, part) {
      const batch = read(range);
      const { length, targetsPerRow } = batch;
      const bytesOf = (values: Int32Array | undefined, perRow: number): Buffer => {
        if (values === undefined) return absent;
        const begin = (part.start - range.start) * perRow * 4;
        return Buffer.from(values.buffer, values.byteOffset + begin, part.rows * perRow * 4);
      };
      const shard = {
        rows: part.rows,
        length,
        inputIds: bytesOf(batch.inputIds, length),
        targets: bytesOf(batch.targets, targetsPerRow),
        attentionMask: bytesOf(batch.attentionMask, length),
        tokenTypeIds: bytesOf(batch.tokenTypeIds, length),
      };
      return { shard, batchTokens: batch.targetCount };
    },
  };
}
