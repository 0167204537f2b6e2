// Numbers of 16 bits and back, as code for kernels (sum.ts) and as kernels over arrays (compression/half-gradients.ts):
// bfloat16, the upper half of a float32, and float16 of IEEE 754. WebAssembly has instructions for neither. Rounding is to
// the nearest, ties to even; what is too large becomes infinite, and NaN stays NaN.
//
//     bfloat16   sign 1, exponent 8, fraction 7     of float32: add 0x7fff and the lowest kept bit, cut
//     float16    sign 1, exponent 5, fraction 10    exponent - 112, the same rounding; below 2^-14 the hardware rounds: adding
//                                                   0.5 to such a number leaves its multiple of 2^-24 in the lowest bits

import { assemble, constant, load, localGet, localSet, localTee, loop, store, types, type Code } from "./assembler.ts";
import { floats, op, words } from "./vectors.ts";

export type HalfFormat = "bfloat16" | "float16";

/** Four of the eight halves in the vector that `halves` leaves on the stack, as floats. Uses the locals `t` and `u`. */
export function widen(format: HalfFormat, halves: Code, upper: boolean, [t, u]: readonly [number, number]): number[] {
  const bits = [...halves, ...op(upper ? "highUnsignedHalves" : "lowUnsignedHalves")];
  if (format === "bfloat16") return [...bits, ...constant(16), ...op("shiftLeft")];
  return [
    ...[...bits, ...localTee(t), ...words(0x7fff), ...op("and"), ...localTee(u)],
    // As a float32 its exponent is too small by 112, which the product mends, for numbers below 2^-14 too.
    ...[...constant(13), ...op("shiftLeft"), ...floats(2 ** 112), ...op("multiply")],
    ...[...localGet(u), ...words(0x7bff), ...op("greaterInteger"), ...words(0x7f80_0000), ...op("and"), ...op("or")],
    ...[...localGet(t), ...words(0x8000), ...op("and"), ...constant(16), ...op("shiftLeft"), ...op("or")],
  ];
}

/** The four floats in local `x` as halves in the lower bits of four integers, left on the stack. Uses the local `t`. */
export function narrow(format: HalfFormat, x: number, t: number): number[] {
  const isNaN = [...localGet(x), ...localGet(x), ...op("notEqual")];
  const cut = (bits: Code, shift: number, bias: number): number[] => [
    ...[...bits, ...constant(shift), ...op("shiftRight"), ...words(1), ...op("and")],
    ...[...bits, ...op("addInteger"), ...words(bias), ...op("addInteger"), ...constant(shift), ...op("shiftRight")],
  ];
  if (format === "bfloat16") {
    return [...words(0x7fc0), ...cut(localGet(x), 16, 0x7fff), ...isNaN, ...op("bitselect")];
  }
  const isBelow = (bits: number): number[] => [...localGet(t), ...words(bits), ...op("lessInteger")];
  return [
    ...[...localGet(x), ...words(0x7fff_ffff), ...op("and"), ...localSet(t)],
    // Subnormal, or normal ...
    ...[...localGet(t), ...floats(0.5), ...op("add"), ...floats(0.5), ...op("subtractInteger")],
    ...[...cut(localGet(t), 13, 0xfff - (112 << 23)), ...isBelow(0x3880_0000), ...op("bitselect")],
    // ... or too large, or NaN.
    ...[...words(0x7e00), ...words(0x7c00), ...isNaN, ...op("bitselect")],
    ...[...isBelow(0x4780_0000), ...op("bitselect")],
    ...[...localGet(x), ...constant(16), ...op("shiftRight"), ...words(0x8000), ...op("and"), ...op("or")],
  ];
}

/** Floats that are converted together: 28 KB with what belongs to them. */
const blockElements = 2048;
const errorsAt = 4 * blockElements;
const halvesAt = 8 * blockElements;
const flagAt = halvesAt + 2 * blockElements;

export interface HalfCodec {
  /**
   * `halves` become `gain` times the sums of `scale` times the gradients and the errors, kept within `limit`; the errors, in
   * `next`, what is missing in them. False if a sum is not finite: what was written then means nothing.
   */
  encode(arrays: {
    readonly gradients: Float32Array;
    readonly errors: Float32Array;
    readonly next: Float32Array;
    readonly halves: Uint16Array;
    readonly scale: number;
    readonly gain: number;
    readonly limit: number;
  }): boolean;
  /** `values` become `factor` times the halves. */
  decode(halves: Uint16Array, values: Float32Array, factor: number): void;
}

// Locals of both loops: parameters, the byte index of the floats and that of the halves, vectors.
const [bytes, index, halfIndex, x, t, u, y, low, high, all] = [0, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const [first, second, third] = [1, 2, 3];
const largest = 3.4028234663852886e38;

export function createHalfCodec(format: HalfFormat): HalfCodec {
  const encoder = compileEncoder(format);
  const decoder = compileDecoder(format);
  return {
    encode({ gradients, errors, next, halves, scale, gain, limit }) {
      encoder.flag.fill(-1);
      for (let at = 0; at < gradients.length; at += blockElements) {
        const count = Math.min(blockElements, gradients.length - at);
        fill(encoder.values, gradients, at, count);
        fill(encoder.errors, errors, at, count);
        encoder.run(4 * count, scale, gain, limit);
        next.set(part(encoder.errors, count), at);
        halves.set(part(encoder.halves, count), at);
      }
      return encoder.flag.every((lane) => lane === -1);
    },
    decode(halves, values, factor) {
      for (let at = 0; at < values.length; at += blockElements) {
        const count = Math.min(blockElements, values.length - at);
        decoder.halves.set(halves.subarray(at, at + count));
        decoder.run(4 * count, factor, 0, 0);
        values.set(part(decoder.values, count), at);
      }
    },
  };
}

/** Numbers after the last are 0: they are computed on, too. */
function fill(block: Float32Array, values: Float32Array, at: number, count: number): void {
  block.set(values.subarray(at, at + count));
  if (count < blockElements) block.fill(0, count);
}

function part<T extends Float32Array | Uint16Array>(block: T, count: number): T {
  return count === blockElements ? block : (block.subarray(0, count) as T);
}

const halved = [...localGet(index), ...constant(1), 0x76, ...localSet(halfIndex)]; // unsigned shift to the right

function compileEncoder(format: HalfFormat) {
  const [scale, gain, limit] = [first, second, third];
  const splat = (scalar: number): number[] => [...localGet(scalar), ...op("splatFloat")];
  const one = (vector: number, code: number): number[] => [
    ...[...localGet(index), ...load(16 * vector), ...splat(scale), ...op("multiply")],
    ...[...localGet(index), ...load(errorsAt + 16 * vector), ...op("add"), ...localTee(x)],
    ...[...op("abs"), ...floats(largest), ...op("lessOrEqual"), ...localGet(all), ...op("and"), ...localSet(all)],
    ...[...localGet(x), ...splat(gain), ...op("multiply"), ...splat(limit), ...op("min")],
    ...[...floats(0), ...splat(limit), ...op("subtract"), ...op("max"), ...localSet(y)],
    ...[...narrow(format, y, t), ...localSet(code)],
    // What is missing in them is seen by widening them again.
    ...[...localGet(index), ...localGet(x)],
    ...widen(format, [...localGet(code), ...localGet(code), ...op("narrowToUnsignedHalves")], false, [t, u]),
    ...[...splat(gain), ...op("divide"), ...op("subtract"), ...store(errorsAt + 16 * vector)],
  ];
  const body = [
    ...one(0, low),
    ...one(1, high),
    ...halved,
    ...[...localGet(halfIndex), ...localGet(low), ...localGet(high)],
    ...[...op("narrowToUnsignedHalves"), ...store(halvesAt)],
  ];
  return compile([
    ...[...constant(0), ...load(flagAt), ...localSet(all)],
    ...loop(body, { index, end: bytes, stride: 32 }),
    ...[...constant(0), ...localGet(all), ...store(flagAt)],
  ]);
}

function compileDecoder(format: HalfFormat) {
  const one = (vector: number): number[] => [
    ...[...localGet(index), ...widen(format, [...localGet(halfIndex), ...load(halvesAt)], vector === 1, [t, u])],
    ...[...localGet(first), ...op("splatFloat"), ...op("multiply"), ...store(16 * vector)],
  ];
  return compile(loop([...halved, ...one(0), ...one(1)], { index, end: bytes, stride: 32 }));
}

function compile(code: Code) {
  const { memory, run } = assemble({
    parameters: [types.i32, types.f32, types.f32, types.f32],
    locals: [
      [2, types.i32],
      [7, types.v128],
    ],
    code,
    memory: flagAt + 16,
  });
  return {
    values: new Float32Array(memory, 0, blockElements),
    errors: new Float32Array(memory, errorsAt, blockElements),
    halves: new Uint16Array(memory, halvesAt, blockElements),
    /** A lane each: all ones while every value was finite. */
    flag: new Int32Array(memory, flagAt, 4),
    run,
  };
}
