// The largest of many float32 by magnitude: how many reach a threshold, and which they are. The threshold that about so many
// reach is searched by counting, which is a pass over memory each time and far less work than sorting.

import { assemble, constant, leb, load, localGet, localSet, localTee, loop, simd, store, types } from "./assembler.ts";
import { floats, op } from "./vectors.ts";

/** Values that are copied and looked at together. */
const blockElements = 4096;
const countsAt = 4 * blockElements;
const finiteAt = countsAt + 16;
const pairsAt = finiteAt + 16;
/** Room for all, and one more, which is written before it is known whether it counts. */
const pairsEnd = pairsAt + 8 * (blockElements + 1);

const [bytes, threshold, base, index, end] = [0, 1, 2, 3, 4];
const [x, mask, counts, finite] = [6, 7, 8, 9];
const bits = 5;
const largestFloat = 3.4028234663852886e38;

const reaches = [...localGet(x), ...op("abs"), ...localGet(threshold), ...op("splatFloat"), ...op("greaterOrEqual")];

const counter = compileCounter();
const finder = compileFinder();

/** At most so many passes over the values in search of a threshold. */
const maxPasses = 16;
/** A threshold that this share of the wanted number reaches is near enough: what is left waits for the next time. */
const nearEnough = 0.9;

export interface Threshold {
  readonly value: number;
  /** Of all values, more than were wanted where too many are alike. */
  readonly count: number;
}

/**
 * A threshold that `wanted` values reach or a few less; `guess` is where to begin, such as the last one. Undefined if a value
 * is not finite.
 */
export function findThreshold(values: Float32Array, wanted: number, guess: number): Threshold | undefined {
  // Above `low` too many reach it, at `high` not too many.
  let low: Threshold | undefined;
  let high: Threshold | undefined;
  let value = guess > 0 ? guess : 1e-6;
  let factor = 4;
  for (let pass = 0; pass < maxPasses; pass++) {
    const found = countFrom(values, value);
    if (found === undefined) return undefined;
    if (found <= wanted) high = { value, count: found };
    else low = { value, count: found };
    if (found <= wanted && found >= nearEnough * wanted) break;
    // Magnitudes are spread over powers of ten, so steps are factors, which grow until there is one on either side.
    if (low === undefined || high === undefined) {
      value *= found > wanted ? factor : 1 / factor;
      factor = Math.min(factor * factor, 2 ** 32);
    } else value = Math.sqrt(low.value * high.value);
    if (value < 1e-37 || value > largestFloat) break;
  }
  if (high !== undefined && (low === undefined || high.count >= wanted / 2)) return high;
  return low;
}

/** How many reach `value`; undefined if one is not finite. */
function countFrom(values: Float32Array, value: number): number | undefined {
  const { block, lanes, finiteLanes, run } = counter;
  lanes.fill(0);
  finiteLanes.fill(-1);
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    block.set(values.subarray(at, at + count));
    const padded = Math.ceil(count / 4) * 4;
    if (padded !== count) block.fill(0, count, padded);
    run(4 * padded, value, 0);
  }
  if (finiteLanes.some((lane) => lane !== -1)) return undefined;
  return lanes.reduce((sum, lane) => sum + lane, 0);
}

/**
 * The first values from `threshold` on, at most `most`, in their order: `indices[i]` and `found[i]`. Gives how many.
 * `threshold` is above 0.
 */
export function collect(
  values: Float32Array,
  threshold: number,
  most: number,
  { indices, found }: { readonly indices: Uint32Array; readonly found: Float32Array },
): number {
  const { block, lanes, pairs, run } = finder;
  const numbers = new Float32Array(pairs.buffer);
  let total = 0;
  for (let at = 0; at < values.length && total < most; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    block.set(values.subarray(at, at + count));
    const padded = Math.ceil(count / 4) * 4;
    if (padded !== count) block.fill(0, count, padded);
    run(4 * padded, threshold, at);
    const hits = Math.min(lanes[0]!, most - total);
    // Of all values only the few that count.
    for (let hit = 0; hit < hits; hit++) {
      indices[total + hit] = pairs[2 * hit]!;
      found[total + hit] = numbers[pairsAt / 4 + 2 * hit + 1]!;
    }
    total += hits;
  }
  return total;
}

function compileCounter() {
  const body = [
    ...[...localGet(index), ...load(0), ...localSet(x)],
    // A lane that reaches it is -1.
    ...[...localGet(counts), ...reaches, ...op("subtractInteger"), ...localSet(counts)],
    ...[...localGet(x), ...op("abs"), ...floats(largestFloat), ...op("lessOrEqual")],
    ...[...localGet(finite), ...op("and"), ...localSet(finite)],
  ];
  return compile([
    ...[...constant(0), ...load(countsAt), ...localSet(counts), ...constant(0), ...load(finiteAt), ...localSet(finite)],
    ...loop(body, { index, end: bytes, stride: 16 }),
    ...[
      ...constant(0),
      ...localGet(counts),
      ...store(countsAt),
      ...constant(0),
      ...localGet(finite),
      ...store(finiteAt),
    ],
  ]);
}

function compileFinder() {
  // `end` is where the next pair goes.
  const lane = (number: number): number[] => [
    ...[...localGet(end), ...localGet(base), ...localGet(index), ...constant(2), 0x76, 0x6a, ...constant(number), 0x6a],
    ...[0x36, 2, ...leb(pairsAt)], // i32.store
    ...[...localGet(end), ...localGet(x), ...simd(0x5a), 2, ...leb(pairsAt + 4), number], // stores one lane
    ...[...localGet(bits), ...constant(number), 0x76, ...constant(1), 0x71, ...constant(3), 0x74],
    ...[...localGet(end), 0x6a, ...localSet(end)],
  ];
  const body = [
    ...[...localGet(index), ...load(0), ...localSet(x)],
    ...[...reaches, ...localTee(mask), ...op("anyTrue"), 0x04, 0x40], // if
    ...[...localGet(mask), ...op("maskOfLanes"), ...localSet(bits)],
    ...[...lane(0), ...lane(1), ...lane(2), ...lane(3), 0x0b],
  ];
  return compile([
    ...loop(body, { index, end: bytes, stride: 16 }),
    ...[...constant(0), ...localGet(end), ...constant(3), 0x76, 0x36, 2, ...leb(countsAt)],
  ]);
}

function compile(code: readonly number[]) {
  const { memory, run } = assemble({
    parameters: [types.i32, types.f32, types.i32],
    locals: [
      [3, types.i32],
      [4, types.v128],
    ],
    code,
    memory: pairsEnd,
  });
  return {
    block: new Float32Array(memory, 0, blockElements),
    lanes: new Int32Array(memory, countsAt, 4),
    finiteLanes: new Int32Array(memory, finiteAt, 4),
    pairs: new Uint32Array(memory, pairsAt, 2 * (blockElements + 1)),
    run,
  };
}
