import { expect, test } from "vitest";
import { microbatchesOf } from "../../../worker/train/shard.ts";

function shardOf(rows: number, length: number) {
  const values = Int32Array.from({ length: rows * length }, (_, i) => i);
  return {
    rows,
    length,
    inputIds: Buffer.from(values.buffer),
    targets: Buffer.from(values.map((id) => id + 1).buffer),
    attentionMask: Buffer.alloc(0),
    tokenTypeIds: Buffer.alloc(0),
  };
}

test("cuts a shard into microbatches, the last one smaller", () => {
  const batches = microbatchesOf(shardOf(5, 3), 2, 3);
  expect(batches.map(({ rows }) => rows)).toEqual([2, 2, 1]);
  expect([...batches[2]!.inputIds]).toEqual([12, 13, 14]);
  expect([...batches[2]!.targets]).toEqual([13, 14, 15]);
});

test("an empty shard has no microbatches", () => {
  expect(microbatchesOf(shardOf(0, 3), 2, 3)).toEqual([]);
  expect(microbatchesOf(null, 2, 0)).toEqual([]);
});

test("reads bytes that do not lie on a word boundary", () => {
  const shard = shardOf(2, 2);
  const moved = Buffer.alloc(17);
  shard.inputIds.copy(moved, 1);
  const [batch] = microbatchesOf({ ...shard, inputIds: moved.subarray(1) }, 8, 2);
  expect([...batch!.inputIds]).toEqual([0, 1, 2, 3]);
});

test("refuses bytes that are not the rows they claim to be", () => {
  const shard = { ...shardOf(2, 2), rows: 3 };
  expect(() => microbatchesOf(shard, 8, 2)).toThrow("the input ids of a shard are 16 bytes, expected 24");
});

test("cuts masks and token types like the ids, and targets by how many a row has", () => {
  const ids = Int32Array.from({ length: 12 }, (_, i) => i);
  const shard = {
    ...shardOf(4, 3),
    targets: Buffer.from(Int32Array.of(7, 8, 9, 10).buffer),
    attentionMask: Buffer.from(ids.map((id) => id + 20).buffer),
    tokenTypeIds: Buffer.from(ids.map((id) => id + 40).buffer),
  };
  const [first, second] = microbatchesOf(shard, 3, 1);
  expect(first).not.toBe(undefined);
  expect([...second!.targets]).toEqual([10]);
  expect([...second!.attentionMask!]).toEqual([29, 30, 31]);
  expect([...second!.tokenTypeIds!]).toEqual([49, 50, 51]);
  expect(microbatchesOf(shardOf(1, 3), 1, 3)[0]).not.toHaveProperty("attentionMask");
  expect(() => microbatchesOf(shard, 3, 2)).toThrow("the targets of a shard are 16 bytes, expected 32");
});
