// What happens to a range of a buffer in shared memory: as plain data, made by route.ts and carried out by memory-call.ts.

import type { ByteRange } from "../chunks.ts";

/**
 * The sum of the buffers of `from`, in that order, or a copy if that is one rank, goes into those of `to`. Ranks are places in the
 * group that shares memory. The targets of a sum are among its operands.
 */
export interface Move extends ByteRange {
  readonly from: readonly number[];
  readonly to: readonly number[];
}
