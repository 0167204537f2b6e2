// What a worker tells of a float32 buffer at every step: its L2 norm and a digest of its bits, both from one pass of a
// WebAssembly SIMD loop over blocks that are copied to where it can read them. The digest finds divergence, not malice.
//
// Plain JavaScript took 6.4 ms for the norm and 3.4 for a weaker digest of 4.2 M elements; this takes 2.6 for both.
//
//     element i of the buffer, padded with zeros to a multiple of 16:
//     square[i % 8] += x * x                              double precision
//     a[i % 16] = swap-halves((a[i % 16] ^ bits) * A)     32 bits; a product mixes upwards only, so the upper and the
//     b[i % 16] = swap-halves((b[i % 16] + bits) * B)     lower half change places
//
// The lanes are folded together at the end, with the length. Additions happen in this order on every machine.

import { assemble, constant, load, localGet, localSet, localTee, loop, simd, store, types } from "../simd/assembler.ts";

export interface Summary {
  /** L2 norm of all elements, accumulated in double precision. NaN or Infinity if any element is. */
  readonly norm: number;
  /** 64 bits over the exact bit patterns and the length, as 16 hexadecimal digits. */
  readonly digest: string;
}

/** Of the digest: as many products are under way at once as hide the time that one takes. */
const lanes = 16;
/** Of the squares, whose additions are quicker. */
const sums = 8;
const PRIME_A = 0x9e3779b1;
const PRIME_B = 0x85ebca77;
const startOf = (lane: number): number => Math.imul(lane + 1, 0xc2b2ae3d);

/** Elements that are copied and summed together; 32 KB. */
const blockElements = 8192;
const blockBytes = blockElements * Float32Array.BYTES_PER_ELEMENT;

const kernel = compile();

/** Norm and digest of `values`, of any length. */
export function summarise(values: Float32Array): Summary {
  const { block, squares, a, b, run } = kernel;
  squares.fill(0);
  for (let lane = 0; lane < lanes; lane++) a[lane] = b[lane] = startOf(lane);
  for (let at = 0; at < values.length; at += blockElements) {
    const count = Math.min(blockElements, values.length - at);
    block.set(count === values.length ? values : values.subarray(at, at + count));
    const padded = Math.ceil(count / lanes) * lanes;
    if (padded !== count) block.fill(0, count, padded);
    run(padded * Float32Array.BYTES_PER_ELEMENT);
  }
  const [s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0] = squares;
  const norm = Math.sqrt(s0 + s1 + (s2 + s3) + (s4 + s5 + (s6 + s7)));
  return { norm, digest: hexOf(fold(a, values.length)) + hexOf(fold(b, values.length)) };
}

/** See `Summary`. */
export function globalNorm(values: Float32Array): number {
  return summarise(values).norm;
}

/** See `Summary`. */
export function digestOf(values: Float32Array): string {
  return summarise(values).digest;
}

/** One-to-one in every lane, so a difference in one of them is never lost. */
function fold(state: Uint32Array, length: number): number {
  let h = length >>> 0;
  for (const lane of state) h = Math.imul(swapHalves(h ^ lane), PRIME_A);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d);
  return (h ^ (h >>> 16)) >>> 0;
}

function swapHalves(x: number): number {
  return (x << 16) | (x >>> 16);
}

function hexOf(word: number): string {
  return word.toString(16).padStart(8, "0");
}

interface SummaryKernel {
  readonly block: Float32Array;
  /** The state of the lanes, kept in the kernel's memory from block to block. */
  readonly squares: Float64Array;
  readonly a: Uint32Array;
  readonly b: Uint32Array;
  readonly run: (bytes: number) => void;
}

function compile(): SummaryKernel {
  const [bytes, index] = [0, 1];
  // Vectors: two squares each, four lanes of the digest each, constants, and what is at hand.
  const squares = [2, 3, 4, 5] as const;
  const [a, b] = [[6, 7, 8, 9] as const, [10, 11, 12, 13] as const];
  const [primeA, primeB, x, wide] = [14, 15, 16, 17];
  const state = [...squares, ...a, ...b];
  const shuffle = (order: readonly number[]): number[] => [...simd(0x0d), ...order];
  const swapped = shuffle([2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13]);
  const upper = [...localGet(x), ...localGet(x), ...shuffle([8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7])];
  const [xor, addInt, multiplyInt, promote, addDouble, multiplyDouble] = [0x51, 0xae, 0xb5, 0x5f, 0xf0, 0xf2].map(simd);
  const addSquare = (values: readonly number[], sum: number): number[] => [
    ...[...values, ...promote!, ...localTee(wide), ...localGet(wide), ...multiplyDouble!],
    ...[...localGet(sum), ...addDouble!, ...localSet(sum)],
  ];
  const mix = (into: number, combine: readonly number[], prime: number): number[] => [
    ...[...localGet(into), ...localGet(x), ...combine, ...localGet(prime), ...multiplyInt!],
    // A shuffle of a vector with itself needs it twice.
    ...[...localTee(into), ...localGet(into), ...swapped, ...localSet(into)],
  ];
  const body = [0, 1, 2, 3].flatMap((vector) => [
    ...[...localGet(index), ...load(16 * vector), ...localSet(x)],
    ...addSquare(localGet(x), squares[2 * (vector % 2)]!),
    ...addSquare(upper, squares[2 * (vector % 2) + 1]!),
    ...mix(a[vector]!, xor!, primeA),
    ...mix(b[vector]!, addInt!, primeB),
  ]);
  const everyLane = (word: number): number[] => {
    const four = [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff);
    return [...simd(0x0c), ...four, ...four, ...four, ...four];
  };
  const place = (slot: number): number => blockBytes + 16 * slot;
  const { memory, run } = assemble({
    parameters: [types.i32],
    locals: [
      [1, types.i32],
      [16, types.v128],
    ],
    code: [
      ...[...everyLane(PRIME_A), ...localSet(primeA), ...everyLane(PRIME_B), ...localSet(primeB)],
      ...state.flatMap((local, slot) => [...constant(0), ...load(place(slot)), ...localSet(local)]),
      ...loop(body, { index, end: bytes, stride: 64 }),
      ...state.flatMap((local, slot) => [...constant(0), ...localGet(local), ...store(place(slot))]),
    ],
    memory: place(state.length),
  });
  return {
    block: new Float32Array(memory, 0, blockElements),
    squares: new Float64Array(memory, place(0), sums),
    a: new Uint32Array(memory, place(4), lanes),
    b: new Uint32Array(memory, place(8), lanes),
    run,
  };
}
