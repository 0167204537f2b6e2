// From a shard as it comes over the wire to the microbatches that the engine computes.

import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { Microbatch } from "../engine/engine.ts";

type Shard = Extract<FromCoordinator, { kind: "plan" }>["value"]["shard"];

/** Cuts the shard's rows into microbatches of at most `rows` rows; the last may be smaller. Views, no copies. */
export function microbatchesOf(shard: Shard, rows: number): Microbatch[] {
  if (shard === null || shard.rows === 0) return [];
  const { length } = shard;
  const inputIds = readInt32(shard.inputIds, shard.rows * length, "input ids");
  const targets = readInt32(shard.targets, shard.rows * length, "targets");
  const microbatches: Microbatch[] = [];
  for (let row = 0; row < shard.rows; row += rows) {
    const count = Math.min(rows, shard.rows - row);
    const range = [row * length, (row + count) * length] as const;
    microbatches.push({
      rows: count,
      length,
      inputIds: inputIds.subarray(...range),
      targets: targets.subarray(...range),
    });
  }
  return microbatches;
}

function readInt32(bytes: Buffer, count: number, what: string): Int32Array {
  if (bytes.byteLength !== count * 4) {
    const both = `${bytes.byteLength} bytes, expected ${count * 4}`;
    throw new RingtuneError("data_invalid", `the ${what} of a shard are ${both}`);
  }
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  return new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
