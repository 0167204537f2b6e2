// Which elements dropout keeps: a function of (seed, step, row of the global batch, place in the model) and of nothing
// else, so that any number of workers, any engine and a resumed run draw the same. A counter-based generator (Salmon et
// al., 2011, on what that is good for) in WebAssembly SIMD; what is kept is 1, what is dropped 0.
//
// Word c of a row is a hash of the counter c under the two keys of the row. Its lower half decides over element 2c, its
// upper half over element 2c + 1: kept where the half is at least rate * 65536, rounded.
//
//     x = c + key0    x = (x ^ x >> 16) * 0x7feb352d + key1    x = (x ^ x >> 15) * 0x846ca68b    word = x ^ x >> 16

import { assemble, constant, localGet, localSet, loop, simd, store, types } from "../simd/assembler.ts";

/** Whose masks: the step that is computed, and where in the global batch the microbatch begins. */
export interface Draw {
  readonly step: number;
  readonly firstRow: number;
}

/** Elements that are drawn together; bytes. */
const blockBytes = 32 * 1024;
const [multiplierA, multiplierB] = [0x7feb352d, 0x846ca68b];

/** Fills `mask` [rows, ...] with the choices of `rate` at `place` for `rows` rows from `draw.firstRow` on. */
export function drawMask(
  mask: Uint8Array,
  { seed, place, rate, rows, draw }: { seed: number; place: string; rate: number; rows: number; draw: Draw },
): void {
  const size = mask.length / rows;
  const threshold = Math.min(Math.round(rate * 0x1_0000), 0xffff);
  const state = absorb(start, [seed % 0x1_0000_0000, Math.floor(seed / 0x1_0000_0000), ...charCodes(place), draw.step]);
  for (let row = 0; row < rows; row++) {
    const [key0, key1] = absorb(state, [draw.firstRow + row]);
    for (let at = 0; at < size; at += blockBytes) {
      const count = Math.min(blockBytes, size - at);
      kernel.run(Math.ceil(count / 16) * 16, (key0 + at / 2) | 0, key1 | 0, threshold);
      mask.set(count === blockBytes ? kernel.block : kernel.block.subarray(0, count), row * size + at);
    }
  }
}

type State = readonly [number, number];

const start: State = [0x9e3779b9, 0x85ebca6b];

/** 64 bits that depend on every word and their order. */
function absorb(from: State, words: readonly number[]): State {
  let [a, b] = from;
  for (const word of words) {
    a = mix(a ^ word);
    b = mix((b + a) >>> 0);
  }
  return [a, b];
}

/** A bijection of 32 bits in which every bit of the input changes every bit of the result about half of the time. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), multiplierA);
  x = Math.imul(x ^ (x >>> 15), multiplierB);
  return (x ^ (x >>> 16)) >>> 0;
}

function charCodes(text: string): number[] {
  return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

const kernel = compile();

function compile(): { block: Uint8Array; run: (bytes: number, key0: number, key1: number, threshold: number) => void } {
  const [bytes, key0, key1, threshold, index] = [0, 1, 2, 3, 4];
  // Vectors: the counters of eight words with key0, what is added to them, and constants.
  const [low, high, eight, second, limit, a, b, one] = [5, 6, 7, 8, 9, 10, 11, 12];
  const [add, multiply, shiftRight, xor, and] = [0xae, 0xb5, 0xad, 0x51, 0x4e].map(simd);
  const [splat, splat16, atLeast, narrow] = [0x11, 0x10, 0x36, 0x65].map(simd);
  const shifted = (x: number, by: number): number[] => [
    ...[...localGet(x), ...localGet(x), ...constant(by), ...shiftRight!, ...xor!],
  ];
  const work = 13;
  const step = (code: readonly number[]): number[] => [...code, ...localSet(work)];
  /** Four words as eight masks of 16 bits, on the stack. */
  const kept = (counter: number): number[] => [
    ...step(localGet(counter)),
    ...step([...shifted(work, 16), ...localGet(a), ...multiply!, ...localGet(second), ...add!]),
    ...step([...shifted(work, 15), ...localGet(b), ...multiply!]),
    ...[...shifted(work, 16), ...localGet(limit), ...atLeast!],
  ];
  const everyLane = (value: readonly number[], local: number): number[] => [...value, ...splat!, ...localSet(local)];
  const counters = [0, 1, 2, 3].flatMap((lane) => [lane, 0, 0, 0]);
  const { memory, run } = assemble({
    parameters: [types.i32, types.i32, types.i32, types.i32],
    locals: [
      [1, types.i32],
      [9, types.v128],
    ],
    code: [
      ...everyLane(constant(multiplierA), a),
      ...everyLane(constant(multiplierB | 0), b),
      ...everyLane(constant(8), eight),
      ...everyLane(localGet(key1), second),
      ...[...localGet(threshold), ...splat16!, ...localSet(limit)],
      ...[...constant(0x01010101), ...splat!, ...localSet(one)],
      ...[...localGet(key0), ...splat!, ...simd(0x0c), ...counters, ...add!, ...localSet(low)],
      ...[...localGet(low), ...constant(4), ...splat!, ...add!, ...localSet(high)],
      ...loop(
        [
          ...[...localGet(index), ...kept(low), ...kept(high), ...narrow!, ...localGet(one), ...and!, ...store(0)],
          ...[...localGet(low), ...localGet(eight), ...add!, ...localSet(low)],
          ...[...localGet(high), ...localGet(eight), ...add!, ...localSet(high)],
        ],
        { index, end: bytes, stride: 16 },
      ),
    ],
    memory: blockBytes,
  });
  return { block: new Uint8Array(memory, 0, blockBytes), run };
}
