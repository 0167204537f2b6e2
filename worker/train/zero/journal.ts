// A rank's share of an update, done where others can see it, block by block, so that whoever is there when the rank is not can
// tell what became of every block and finish it. Knows arrays and a word of progress, nothing of processes.
//
//     for every block:   copy it to the shadow | progress = "block k is in the shadow" | update it | progress = "k is done"
//
//     the rank died ...  block k is untouched  | the shadow has it as it was           |           | block k is new
//
// Progress is a number of 64 bits: the round (updates so far) above, twice the blocks done below, plus one while one is under
// way. Stores of a process that is killed are seen up to an instruction and none beyond it. A process that was only stopped may go
// on while others read: they look at the progress again when they have read, and read again if the block was moved meanwhile.

import type { Range } from "../optimizer.ts";

/** Elements: large enough that the words cost nothing, small enough that the shadow stays in the cache. */
export const blockElements = 8192;

export interface Share {
  /** Elements that the share's rank updates. */
  readonly range: Range;
  /** Weights and optimizer state, whole. */
  readonly arrays: readonly Float32Array[];
  /** Room for a block of each array. */
  readonly shadow: Float32Array;
  /** One word. */
  readonly progress: BigInt64Array;
}

/** How many elements the shadow of a share has. */
export function shadowLength(arrays: number): number {
  return arrays * blockElements;
}

/** Updates the share. `update` writes the block to the arrays; `round` is one more than that of the update before. */
export function updateShare(share: Share, round: number, update: (block: Range) => void): void {
  const { range, arrays, shadow, progress } = share;
  for (const [index, block] of blocksOf(range)) {
    arrays.forEach((array, i) => shadow.set(array.subarray(block.begin, block.end), i * blockElements));
    Atomics.store(progress, 0, word(round, 2 * index + 1));
    update(block);
    Atomics.store(progress, 0, word(round, 2 * index + 2));
  }
}

/**
 * The share as it is after the update of `round`, whether its rank has finished it or not: block by block to `take`, whose arrays are
 * valid until it returns. `update` makes the new block of the old one, in arrays that begin at the block. Writes nothing to
 * the share.
 */
export function readShare(
  share: Share,
  round: number,
  update: (arrays: readonly Float32Array[], block: Range) => void,
  take: (arrays: readonly Float32Array[], block: Range) => void,
): void {
  const room = share.arrays.map(() => new Float32Array(blockElements));
  for (const [index, block] of blocksOf(share.range)) {
    const copies = room.map((array) => array.subarray(0, block.end - block.begin));
    if (copyBlock(share, index, block, round, copies) !== "done") update(copies, block);
    take(copies, block);
  }
}

type Place = "untouched" | "in the shadow" | "done";

function copyBlock(
  { arrays, shadow, progress }: Share,
  index: number,
  block: Range,
  round: number,
  into: readonly Float32Array[],
): Place {
  const find = (): Place => placeOf(Atomics.load(progress, 0), index, round);
  for (;;) {
    const place = find();
    into.forEach((copy, i) => {
      const start = i * blockElements;
      copy.set(
        place === "in the shadow"
          ? shadow.subarray(start, start + copy.length)
          : arrays[i]!.subarray(block.begin, block.end),
      );
    });
    if (find() === place) return place;
  }
}

function placeOf(progress: bigint, index: number, round: number): Place {
  if (progress >> 32n < BigInt(round)) return "untouched";
  const done = Number(progress & 0xffff_ffffn);
  if (done > 2 * index + 1) return "done";
  return done === 2 * index + 1 ? "in the shadow" : "untouched";
}

function word(round: number, done: number): bigint {
  return (BigInt(round) << 32n) | BigInt(done);
}

function* blocksOf({ begin, end }: Range): Generator<[index: number, block: Range]> {
  for (let index = 0; begin + index * blockElements < end; index++) {
    const start = begin + index * blockElements;
    yield [index, { begin: start, end: Math.min(end, start + blockElements) }];
  }
}
