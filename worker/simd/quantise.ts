// Float32 values as integers of 8 bits, 256 of them with one scale, packed so that sums of 64-bit integers are sums of all eight
// of them: what is quantised with common scales can be all-reduced as it is, exactly, in any order. Knows nothing of
// gradients; how the scales are agreed on is said in compression/int8-gradients.ts.
//
//     value = integer * step      eight integers of -127 .. 127:  sum of integer_i * 2^(8 i), as one integer of 64 bits
//
// A negative integer borrows from the next higher one. Adding 128 to each, which is one addition of 0x8080808080808080, leaves
// eight bytes without a borrow between them. Kernels copy blocks, as all here do.

import {
  assemble,
  constant,
  leb,
  load,
  localGet,
  localSet,
  localTee,
  loop,
  simd,
  store,
  types,
  type Code,
} from "./assembler.ts";
import { floats, op, words } from "./vectors.ts";

/** Values that share a scale. */
export const scaledTogether = 256;

/** Values that are copied and computed together: 36 KB with what belongs to them. */
const blockElements = 2048;
const errorsAt = 4 * blockElements;
const bytesAt = 2 * errorsAt;
const maximaAt = bytesAt + blockElements;
const stepsAt = maximaAt + (4 * blockElements) / scaledTogether;
const inversesAt = stepsAt + (4 * blockElements) / scaledTogether;
const endOfMemory = inversesAt + (4 * blockElements) / scaledTogether;

// Locals: end and scalar; byte index of the values, where the group ends, byte index of the group's numbers; vectors.
const [bytes, scalar, index, groupEnd, group, x, y, z, w, most] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** The borrow between the integers of a long. */
const bias = words(0x8080_8080);

const measurer = compileMeasurer();
const quantiser = compileQuantiser();
const reader = compileReader();

/** How many groups `count` values make, the last one padded with zeros. */
export function groupsOf(count: number): number {
  return Math.ceil(count / scaledTogether);
}

/**
 * `sums` become `scale` times the values and the errors; `maxima`, one a group, the largest magnitudes of them, NaN or
 * infinite where any of the group is.
 */
export function measure(arrays: {
  readonly values: Float32Array;
  readonly errors: Float32Array;
  readonly sums: Float32Array;
  readonly maxima: Float32Array;
  readonly scale: number;
}): void {
  const { values, errors, sums, maxima, scale } = arrays;
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    fill(measurer.values, values, at, count);
    fill(measurer.errors, errors, at, count);
    measurer.run(4 * paddedOf(count), scale);
    sums.set(part(measurer.values, count), at);
    maxima.set(part(measurer.maxima, groupsOf(count)), at / scaledTogether);
  }
}

/**
 * Packs the values as multiples of their group's step, rounded to the nearest; the values become what is missing. `inverses`
 * are 1 / step, and 0 for groups that become 0.
 */
export function quantise(
  values: Float32Array,
  scales: { readonly steps: Float32Array; readonly inverses: Float32Array },
  packed: Uint8Array,
): void {
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    const groups = groupsOf(count);
    const first = at / scaledTogether;
    fill(quantiser.values, values, at, count);
    quantiser.steps.set(scales.steps.subarray(first, first + groups));
    quantiser.inverses.set(scales.inverses.subarray(first, first + groups));
    quantiser.run(4 * paddedOf(count), 0);
    values.set(part(quantiser.values, count), at);
    packed.set(part(quantiser.packed, paddedOf(count)), at);
  }
}

/** `values` become `factor` times what the packed integers, or sums of them, stand for. */
export function dequantise(packed: Uint8Array, steps: Float32Array, values: Float32Array, factor: number): void {
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    const first = at / scaledTogether;
    reader.packed.set(packed.subarray(at, at + paddedOf(count)));
    reader.steps.set(steps.subarray(first, first + groupsOf(count)));
    reader.run(4 * paddedOf(count), factor);
    values.set(part(reader.values, count), at);
  }
}

const paddedOf = (count: number): number => groupsOf(count) * scaledTogether;

function fill(block: Float32Array, values: Float32Array, at: number, count: number): void {
  block.set(values.subarray(at, at + count));
  if (count < blockElements) block.fill(0, count);
}

function part<T extends Float32Array | Uint8Array>(block: T, count: number): T {
  return count === block.length ? block : (block.subarray(0, count) as T);
}

function compileMeasurer() {
  const lanes = (order: readonly number[]): number[] => [
    ...[...localGet(most), ...localGet(most), ...simd(0x0d)],
    ...order.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
  ];
  const halve = (order: readonly number[]): number[] => [
    ...[...localGet(most), ...lanes(order), ...op("max"), ...localSet(most)],
  ];
  const each = [
    ...[
      ...localGet(index),
      ...localGet(index),
      ...load(0),
      ...localGet(scalar),
      ...op("splatFloat"),
      ...op("multiply"),
    ],
    ...[...localGet(index), ...load(errorsAt), ...op("add"), ...localTee(x), ...store(0)],
    ...[...localGet(x), ...op("abs"), ...localGet(most), ...op("max"), ...localSet(most)],
  ];
  return compile([
    ...[...floats(0), ...localSet(most)],
    ...loop(each, { index, end: groupEnd, stride: 16 }),
    ...[...halve([2, 3, 0, 1]), ...halve([1, 0, 3, 2])],
    ...[...localGet(group), ...localGet(most), ...simd(0x5a), 2, ...leb(maximaAt), 0], // stores one lane
  ]);
}

function compileQuantiser() {
  // Leaves four of them on the stack.
  const integers = (vector: number): number[] => [
    ...[...localGet(index), ...load(16 * vector), ...localTee(x)],
    ...[...localGet(z), ...op("multiply"), ...op("nearest"), ...localSet(y)],
    // Below the rest, which is stored there.
    ...[...localGet(index), ...localGet(x), ...localGet(y), ...localGet(w), ...op("multiply")],
    ...[...op("subtract"), ...store(16 * vector), ...localGet(y), ...op("toInteger")],
  ];
  const halves = (first: number): number[] => [
    ...[...integers(first), ...integers(first + 1), ...op("narrowToHalves")],
  ];
  const each = [
    ...[...localGet(index), ...constant(2), 0x76],
    ...[...halves(0), ...halves(2), ...op("narrowToBytes")],
    ...[...bias, ...op("xor"), ...bias, ...op("subtractLong"), ...store(bytesAt)],
  ];
  return compile([
    ...[...localGet(group), ...op("load32Splat"), 2, ...leb(inversesAt), ...localSet(z)],
    ...[...localGet(group), ...op("load32Splat"), 2, ...leb(stepsAt), ...localSet(w)],
    ...loop(each, { index, end: groupEnd, stride: 64 }),
  ]);
}

function compileReader() {
  const four = (vector: number): number[] => [
    ...[...localGet(index), ...localGet(x), ...op(vector < 2 ? "lowBytes" : "highBytes")],
    ...[...op(vector % 2 === 0 ? "lowHalves" : "highHalves"), ...op("toFloat")],
    ...[...localGet(w), ...op("multiply"), ...store(16 * vector)],
  ];
  const each = [
    ...[...localGet(index), ...constant(2), 0x76, ...load(bytesAt)],
    ...[...bias, ...op("addLong"), ...bias, ...op("xor"), ...localSet(x)],
    ...[0, 1, 2, 3].flatMap(four),
  ];
  return compile([
    ...[...localGet(group), ...op("load32Splat"), 2, ...leb(stepsAt)],
    ...[...localGet(scalar), ...op("splatFloat"), ...op("multiply"), ...localSet(w)],
    ...loop(each, { index, end: groupEnd, stride: 64 }),
  ]);
}

/** `perGroup` is run for each group, with `index` at its first value and `groupEnd` behind its last one. */
function compile(perGroup: Code) {
  const { memory, run } = assemble({
    parameters: [types.i32, types.f32],
    locals: [
      [3, types.i32],
      [5, types.v128],
    ],
    code: [
      ...[0x03, 0x40, ...localGet(index), ...constant(4 * scaledTogether), 0x6a, ...localSet(groupEnd)],
      ...perGroup,
      ...[...localGet(group), ...constant(4), 0x6a, ...localSet(group)],
      ...[...localGet(index), ...localGet(bytes), 0x49, 0x0d, 0, 0x0b],
    ],
    memory: endOfMemory,
  });
  const groups = blockElements / scaledTogether;
  return {
    values: new Float32Array(memory, 0, blockElements),
    errors: new Float32Array(memory, errorsAt, blockElements),
    packed: new Uint8Array(memory, bytesAt, blockElements),
    maxima: new Float32Array(memory, maximaAt, groups),
    steps: new Float32Array(memory, stepsAt, groups),
    inverses: new Float32Array(memory, inversesAt, groups),
    run,
  };
}
