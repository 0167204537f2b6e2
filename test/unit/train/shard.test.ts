import { expect, test } from "vitest";
import { microbatchesOf } from "../../../worker/train/shard.ts";

function shardOf(rows: number, length: number) {
  const values = Int32Array.from({ length: rows * length }, (_, i) => i);
  return {
    rows,
    length,
    inputIds: Buffer.from(values.buffer),
    targets: Buffer.from(values.map((id) => id + 1).buffer),
  };
}

test("cuts a shard into microbatches, the last one smaller", () => {
  const batches = microbatchesOf(shardOf(5, 3), 2);
  expect(batches.map(({ rows }) => rows)).toEqual([2, 2, 1]);
  expect([...batches[2]!.inputIds]).toEqual([12, 13, 14]);
  expect([...batches[2]!.targets]).toEqual([13, 14, 15]);
});

test("an empty shard has no microbatches", () => {
  expect(microbatchesOf(shardOf(0, 3), 2)).toEqual([]);
  expect(microbatchesOf(null, 2)).toEqual([]);
});

test("reads bytes that do not lie on a word boundary", () => {
  const shard = shardOf(2, 2);
  const moved = Buffer.alloc(17);
  shard.inputIds.copy(moved, 1);
  const [batch] = microbatchesOf({ ...shard, inputIds: moved.subarray(1) }, 8);
  expect([...batch!.inputIds]).toEqual([0, 1, 2, 3]);
});

test("refuses bytes that are not the rows they claim to be", () => {
  const shard = { ...shardOf(2, 2), rows: 3 };
  expect(() => microbatchesOf(shard, 8)).toThrow("the input ids of a shard are 16 bytes, expected 24");
});
