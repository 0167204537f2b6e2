// Which gradients travel together: runs of whole tensors, from the end of the layout to its beginning, as the backward pass
// comes to them. Small buckets begin early, large ones cost fewer round trips.
//
//     layout     embedding | block 0 ... block n-1 | norm, head
//     buckets    [     3          ][    2    ][  1  ][    0    ]      0 is there first
//
// A bucket is full when it has `bucketBytes`; a larger tensor is one by itself with what was waiting.

import type { ParameterLayout } from "../../model/parameters.ts";

/** Elements [begin, end) of the flat gradients. */
export interface Bucket {
  readonly begin: number;
  readonly end: number;
  /** Names, the last of the layout first. */
  readonly tensors: readonly string[];
}

const MB = 1e6;

/** An eighth of the gradients, so that little is left when the backward pass is over; measured in docs/overlap.md. */
export function defaultBucketBytes(gradientBytes: number): number {
  return Math.min(25 * MB, Math.max(1 * MB, gradientBytes / 8));
}

/** In the order in which they are reduced; together the whole layout. */
export function planBuckets({ specs, size }: ParameterLayout, bucketBytes = defaultBucketBytes(4 * size)): Bucket[] {
  const buckets: Bucket[] = [];
  let end = size;
  let tensors: string[] = [];
  for (const { name, offset } of specs.toReversed()) {
    tensors.push(name);
    if (4 * (end - offset) < bucketBytes && offset > 0) continue;
    buckets.push({ begin: offset, end, tensors });
    end = offset;
    tensors = [];
  }
  return buckets;
}
