// Rows of the sample stream as they travel: token ids and targets, int32 little endian. Holds the few batches that are
// planned and not yet committed, so that a batch is read once however many workers share it.

import type { Range } from "../core/job.ts";
import type { TokenDataset } from "../data/dataset.ts";

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

interface Batch {
  readonly range: Range;
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
  /** Unmasked targets. */
  readonly tokens: number;
}

export interface Batches {
  /** A worker's part of a batch, and the unmasked targets of the whole batch. */
  shard(batch: Range, shard: Range): { shard: WireShard; batchTokens: number };
}

/** `indexAt` names the dataset's sample at a position of the stream. */
export function createBatches(dataset: TokenDataset, indexAt: (position: number) => number, held: number): Batches {
  const recent: Batch[] = [];

  function read(range: Range): Batch {
    const known = recent.find((batch) => batch.range.start === range.start && batch.range.rows === range.rows);
    if (known !== undefined) return known;
    const size = range.rows * dataset.sequenceLength;
    const inputIds = new Int32Array(size);
    const targets = new Int32Array(size);
    let tokens = 0;
    for (let row = 0; row < range.rows; row++) {
      tokens += dataset.readSample(indexAt(range.start + row), inputIds, targets, row);
    }
    const batch = { range, inputIds, targets, tokens };
    recent.push(batch);
    if (recent.length > held) recent.shift();
    return batch;
  }

  return {
    shard(range, part) {
      const batch = read(range);
      const { sequenceLength: length } = dataset;
      const begin = (part.start - range.start) * length * 4;
      const bytesOf = (values: Int32Array): Buffer =>
        Buffer.from(values.buffer, values.byteOffset + begin, part.rows * length * 4);
      const shard = {
        rows: part.rows,
        length,
        inputIds: bytesOf(batch.inputIds),
        targets: bytesOf(batch.targets),
        attentionMask: absent,
        tokenTypeIds: absent,
      };
      return { shard, batchTokens: batch.tokens };
    },
  };
}
