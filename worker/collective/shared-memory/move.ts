// What happens to a range of a buffer in shared memory: as plain data, made by route.ts, and how it is done. When, and by which
// rank of the group, memory-call.ts and lane-memory.ts say.

import { assert } from "../../../common/errors.ts";
import type { Dtype } from "../../../proto/frame.ts";
import { strideBytes, sumOneByOne, type SumType } from "../../simd/sum.ts";
import type { ByteRange } from "../chunks.ts";
import type { Region } from "./region.ts";

/**
 * The sum of the buffers of `from`, in that order, or a copy if that is one rank, goes into those of `to`. Ranks are places in the
 * group that shares memory. The targets of a sum are among its operands.
 */
export interface Move extends ByteRange {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** Who carries it out, and where in the region's memory the range of each rank's buffer begins. */
export interface Carrying {
  readonly rank: number;
  readonly region: Region;
  readonly dtype: Dtype;
  readonly at: (rank: number) => number;
}

/** Returns the bytes that were read from or written to buffers of others. */
export function carryOut({ from, to, begin, end }: Move, { rank, region, dtype, at }: Carrying): number {
  const length = end - begin;
  if (from.length > 1) {
    assert(dtype !== "bytes", "bytes are not summed");
    sum(dtype, region, from.map(at), length, to.map((target) => from.indexOf(target))); // prettier-ignore
  } else {
    const source = at(from[0]!);
    for (const target of to) region.bytes.copyWithin(at(target), source, source + length);
  }
  const others = (ranks: readonly number[]): number => ranks.filter((each) => each !== rank).length;
  return length * (others(from) + others(to));
}

/** Vectors by WebAssembly, and the few elements after the last whole stride one by one, with the same rounding. */
function sum(
  type: SumType,
  region: Region,
  addresses: readonly number[],
  length: number,
  targets: readonly number[],
): void {
  const vectors = length - (length % strideBytes);
  region.sum(type, addresses.length, targets)(addresses, vectors);
  const rest = addresses.map((address) => address + vectors);
  sumOneByOne(type, region.bytes.buffer, { addresses: rest, targets, bytes: length - vectors });
}
