// Float32 values as integers of 64 bits, and back: a fixed point. Sums of integers are exact, so they have the same bits in
// whatever order and grouping they are added, which float sums have not. Rounding happens when a value becomes an integer, and
// once more when the sum becomes a float32. Knows nothing of gradients; what the numbers are chosen for is said where
// they are used (train/identical-gradients.ts).
//
//     integer = value * 2^k / scale, rounded to the nearest, ties to even       resolution scale * 2^-k, whatever the value
//
// WebAssembly has vectors of doubles and of 64-bit integers, but no conversion between them. The usual trick does it: a
// double x + 1.5 * 2^52 has round(x) in its lower bits, for |x| < 2^51. A value of up to 62 bits goes in two halves:
//
//     high = round(x / 2^32)      low = round(x - high * 2^32), exact before it is rounded      integer = high * 2^32 + low
//
// Measured on a busy machine of two cores (load 5 to 15), best of 25: 1.6 ns a value to add and as much to read back (1 M
// values), 4.5 beyond the caches (4.2 M); in JavaScript with BigInt 470.

import { assemble, constant, load, localGet, localSet, loop, simd, store, types } from "./assembler.ts";
import type { Code } from "./assembler.ts";

/** Integers have at most so many bits: values may not be larger than 2^62 of their resolution, in sum. */
export const fixedPointBits = 62;

export interface FixedPoint {
  /** Resolution, as a power of two: integers are multiples of 2^-k. */
  readonly k: number;
  /** A power of two by which the values are larger than what is meant by them. */
  readonly scale: number;
}

/** Values that are converted together: 24 KB with their integers. */
const blockElements = 2048;
const integersAt = 4 * blockElements;
const flagAt = integersAt + 8 * blockElements;

const vectors = {
  ...{ constant: 0x0c, shuffle: 0x0d, splatDouble: 0x14, splatFloat: 0x13, and: 0x4e, or: 0x50, lessOrEqual: 0x45 },
  ...{ abs: 0xe0, promote: 0x5f, demote: 0x5e, addDouble: 0xf0, subtractDouble: 0xf1, multiplyDouble: 0xf2 },
  ...{ addInteger: 0xce, subtractInteger: 0xd1, shiftLeft: 0xcb, shiftRight: 0xcc },
} as const;
const op = (name: keyof typeof vectors): number[] => simd(vectors[name]);

/** The same 64 bits in both lanes. */
function lanes(bits: bigint): number[] {
  const bytes = Array.from({ length: 8 }, (_, i) => Number((bits >> BigInt(8 * i)) & 0xffn));
  return [...op("constant"), ...bytes, ...bytes];
}

const double = (value: number): number[] => lanes(Buffer.from(Float64Array.of(value).buffer).readBigUInt64LE());

/** 1.5 * 2^52, as a double and as bits; its lower 32 bits are 0. */
const magic = 1.5 * 2 ** 52;
const magicBits = 0x4338_0000_0000_0000n;
const [lowHalf, highHalf] = [0, 8].map((from) => [
  ...op("shuffle"),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((byte) => from + byte),
  ...[0, 1, 2, 3, 4, 5, 6, 7],
]) as [number[], number[]];

// Locals of both loops: the parameters, the byte index of the values and that of the integers, then vectors.
const [bytes, factor, bound, index, integerIndex, factors, bounds, x, scaled, high, seen] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
];

const adder = compileAdder();
const reader = compileReader();

/**
 * Adds `values` to `sums`, or replaces them when `first`. False if a magnitude is above `limit` or is no number; the sums
 * then mean nothing.
 */
export function addFixedPoint(
  sums: BigInt64Array,
  values: Float32Array,
  { k, scale, limit, first }: FixedPoint & { readonly limit: number; readonly first: boolean },
): boolean {
  const { floats, integers, flag, run } = adder;
  flag.fill(-1);
  // Beyond this float32 has only infinity, which is no number to add.
  const largest = Math.min(limit, 3.4028234663852886e38);
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    floats.set(values.subarray(at, at + count));
    floats.fill(0, count, Math.ceil(count / 4) * 4);
    if (first) integers.fill(0n, 0, count);
    else integers.set(sums.subarray(at, at + count));
    run(4 * count, 2 ** k / scale, largest);
    sums.set(count === blockElements ? integers : integers.subarray(0, count), at);
  }
  return flag.every((lane) => lane === -1);
}

/** `values` become what the sums stand for, each rounded to float32. */
export function readFixedPoint(sums: BigInt64Array, values: Float32Array, { k, scale }: FixedPoint): void {
  const { floats, integers, run } = reader;
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    integers.set(sums.subarray(at, at + count));
    run(4 * count, scale / 2 ** k, 0);
    values.set(count === blockElements ? floats : floats.subarray(0, count), at);
  }
}

function compileAdder() {
  const half = (which: Code, offset: number): number[] => [
    ...[...localGet(x), ...localGet(x), ...which, ...op("promote"), ...localGet(factors), ...op("multiplyDouble")],
    ...[...localSet(scaled), ...localGet(integerIndex)], // below the sum, which is stored there
    ...[...localGet(scaled), ...double(2 ** -32), ...op("multiplyDouble"), ...double(magic), ...op("addDouble")],
    ...[...localSet(high), ...localGet(high), ...constant(32), ...op("shiftLeft")],
    ...[...localGet(scaled), ...localGet(high), ...double(magic), ...op("subtractDouble")],
    ...[...double(2 ** 32), ...op("multiplyDouble"), ...op("subtractDouble"), ...double(magic), ...op("addDouble")],
    ...[...lanes(magicBits), ...op("subtractInteger"), ...op("addInteger")],
    ...[...localGet(integerIndex), ...load(integersAt + offset), ...op("addInteger"), ...store(integersAt + offset)],
  ];
  const body = [
    ...[...localGet(index), ...load(0), ...localSet(x)],
    ...[...localGet(x), ...op("abs"), ...localGet(bounds), ...op("lessOrEqual")],
    ...[...localGet(seen), ...op("and"), ...localSet(seen)],
    ...[...localGet(index), ...constant(1), 0x74, ...localSet(integerIndex)],
    ...half(lowHalf, 0),
    ...half(highHalf, 16),
  ];
  return compile([
    ...[...localGet(bound), ...op("splatFloat"), ...localSet(bounds)],
    ...[...constant(0), ...load(flagAt), ...localSet(seen)],
    ...loop(body, { index, end: bytes, stride: 16 }),
    ...[...constant(0), ...localGet(seen), ...store(flagAt)],
  ]);
}

function compileReader() {
  const [upper, lower] = [double(magic), double(2 ** 52)];
  const half = (offset: number): number[] => [
    ...[...localGet(integerIndex), ...load(integersAt + offset), ...localSet(x)],
    ...[...localGet(x), ...constant(32), ...op("shiftRight"), ...lanes(magicBits), ...op("addInteger")],
    ...[...upper, ...op("subtractDouble"), ...double(2 ** 32), ...op("multiplyDouble")],
    ...[...localGet(x), ...lanes(0xffff_ffffn), ...op("and"), ...lower, ...op("or"), ...lower, ...op("subtractDouble")],
    ...[...op("addDouble"), ...localGet(factors), ...op("multiplyDouble"), ...op("demote")],
  ];
  const eight = [0, 1, 2, 3, 4, 5, 6, 7];
  const body = [
    ...[...localGet(index), ...constant(1), 0x74, ...localSet(integerIndex)],
    ...localGet(index), // where the result goes
    ...half(0),
    ...half(16),
    ...[...op("shuffle"), ...eight, ...eight.map((byte) => 16 + byte), ...store(0)],
  ];
  return compile(loop(body, { index, end: bytes, stride: 16 }));
}

function compile(code: Code) {
  const { memory, run } = assemble({
    parameters: [types.i32, types.f64, types.f32],
    locals: [
      [2, types.i32],
      [6, types.v128],
    ],
    code: [...localGet(factor), ...op("splatDouble"), ...localSet(factors), ...code],
    memory: flagAt + 16,
  });
  return {
    floats: new Float32Array(memory, 0, blockElements),
    integers: new BigInt64Array(memory, integersAt, blockElements),
    /** A lane each: all ones while every value was in its bounds. */
    flag: new Int32Array(memory, flagAt, 4),
    run,
  };
}
