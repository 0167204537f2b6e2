// Names for the vector instructions that kernels of gradients use, beyond loads and stores, and vectors of constants.
// See assembler.ts for how code is put together.

import { simd, type Code } from "./assembler.ts";

const opcodes = {
  ...{ splatInteger: 0x11, splatFloat: 0x13, load32Splat: 0x09 },
  ...{ not: 0x4d, and: 0x4e, or: 0x50, xor: 0x51, bitselect: 0x52, anyTrue: 0x53 },
  ...{ equal: 0x41, notEqual: 0x42, lessOrEqual: 0x45, greaterOrEqual: 0x46 },
  ...{ nearest: 0x6a, abs: 0xe0, add: 0xe4, subtract: 0xe5, multiply: 0xe6, divide: 0xe7, min: 0xe8, max: 0xe9 },
  ...{ toInteger: 0xf8, toFloat: 0xfa },
  ...{ greaterInteger: 0x3b, lessInteger: 0x39, addInteger: 0xae, subtractInteger: 0xb1, maskOfLanes: 0xa4 },
  ...{ shiftLeft: 0xab, shiftRight: 0xad, addLong: 0xce, subtractLong: 0xd1 },
  ...{ narrowToBytes: 0x65, narrowToHalves: 0x85, narrowToUnsignedHalves: 0x86 },
  ...{ lowBytes: 0x87, highBytes: 0x88 },
  ...{ lowHalves: 0xa7, highHalves: 0xa8, lowUnsignedHalves: 0xa9, highUnsignedHalves: 0xaa },
} as const;

/** An instruction on vectors. Floats and integers are of 32 bits, halves of 16, bytes of 8, longs of 64. */
export const op = (name: keyof typeof opcodes): number[] => simd(opcodes[name]);

/** The same 32 bits in all four lanes. */
export function words(bits: number): Code {
  const bytes = [0, 8, 16, 24].map((shift) => (bits >>> shift) & 0xff);
  return [...simd(0x0c), ...bytes, ...bytes, ...bytes, ...bytes];
}

/** The same float32 in all four lanes. */
export function floats(value: number): Code {
  return words(new Uint32Array(Float32Array.of(value).buffer)[0]!);
}
