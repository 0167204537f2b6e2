// From a shard as it comes over the wire to the microbatches that the engine computes.

import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { Microbatch } from "../engine/engine.ts";
import { targetsPerRow, type Model } from "../model/model.ts";

type Shard = Extract<FromCoordinator, { kind: "plan" }>["value"]["shard"];

/**
 * Cuts the shard's rows into microbatches of at most `rows` rows; the last may be smaller. Views, no copies.
 * `targetsPerRow` is the model's. Throws `data_invalid` for an array of another size.
 */
export function microbatchesOf(shard: Shard, rows: number, targetsPerRow: number): Microbatch[] {
  if (shard === null || shard.rows === 0) return [];
  const { length } = shard;
  const tokens = shard.rows * length;
  const inputIds = readInt32(shard.inputIds, tokens, "input ids");
  const targets = readInt32(shard.targets, shard.rows * targetsPerRow, "targets");
  const attentionMask = readOptional(shard.attentionMask, tokens, "attention mask");
  const tokenTypeIds = readOptional(shard.tokenTypeIds, tokens, "token type ids");
  const microbatches: Microbatch[] = [];
  for (let row = 0; row < shard.rows; row += rows) {
    const count = Math.min(rows, shard.rows - row);
    const range = [row * length, (row + count) * length] as const;
    microbatches.push({
      rows: count,
      length,
      inputIds: inputIds.subarray(...range),
      targets: targets.subarray(row * targetsPerRow, (row + count) * targetsPerRow),
      ...(attentionMask === undefined ? {} : { attentionMask: attentionMask.subarray(...range) }),
      ...(tokenTypeIds === undefined ? {} : { tokenTypeIds: tokenTypeIds.subarray(...range) }),
    });
  }
  return microbatches;
}

/** The same for a model with this head. */
export function cutShard(shard: Shard, rows: number, head: Model["head"]): Microbatch[] {
  return microbatchesOf(shard, rows, shard === null ? 0 : targetsPerRow(head, shard.length));
}

/** Empty bytes are absent ones. */
function readOptional(bytes: Buffer, count: number, what: string): Int32Array | undefined {
  return bytes.byteLength === 0 ? undefined : readInt32(bytes, count, what);
}

function readInt32(bytes: Buffer, count: number, what: string): Int32Array {
  if (bytes.byteLength !== count * 4) {
    const both = `${bytes.byteLength} bytes, expected ${count * 4}`;
    throw new RingtuneError("data_invalid", `the ${what} of a shard are ${both}`);
  }
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  return new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
