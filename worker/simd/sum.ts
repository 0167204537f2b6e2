// Sums of float32, int64 or halves (half.ts) as WebAssembly SIMD loops: several vectors of one memory summed in a fixed order
// into some of them, and, for data that lies elsewhere, one array added to another block by block. The only arithmetic of the
// collectives.
// Measured on one core of the development machine, 256 KiB segments into 50 MB: 3.7 ns a float in JavaScript, 0.9 here.

import {
  assemble,
  constant,
  createMemory,
  load,
  localGet,
  localSet,
  localTee,
  simd,
  store,
  types,
} from "./assembler.ts";
import { assert } from "../../common/errors.ts";
import type { Code, WasmMemory } from "./assembler.ts";
import { narrow, widen, type HalfFormat } from "./half.ts";
import { op } from "./vectors.ts";

export type SumType = "float32" | "int64" | HalfFormat;

/** How vectors of a type are summed: as so many vectors each, of what is in them, made one again at the end. */
interface Arithmetic {
  readonly sumsPerVector: number;
  /** Leaves on the stack what sum `which` is made of, of the vector that `vector` leaves there. */
  readonly part: (vector: Code, which: number, spare: Spare) => Code;
  readonly add: Code;
  /** Leaves on the stack the vector that the sums in these locals make. */
  readonly join: (sums: readonly number[], spare: Spare) => Code;
}

/** Locals to compute in. */
type Spare = readonly [number, number];

const whole = (opcode: number): Arithmetic => ({
  sumsPerVector: 1,
  part: (vector) => vector,
  add: simd(opcode),
  join: ([sum = 0]) => localGet(sum),
});

const halves = (format: HalfFormat): Arithmetic => ({
  sumsPerVector: 2,
  part: (vector, which, spare) => widen(format, vector, which === 1, spare),
  add: op("add"),
  join: (sums, [spare]) => [...sums.flatMap((sum) => narrow(format, sum, spare)), ...op("narrowToUnsignedHalves")],
});

const arithmetics: Readonly<Record<SumType, Arithmetic>> = {
  ...{ float32: whole(0xe4), int64: whole(0xce) },
  ...{ bfloat16: halves("bfloat16"), float16: halves("float16") },
};

/** Vectors of 16 bytes that are under way at once. */
const unrolled = 4;
/** What a kernel computes at a time; lengths are multiples of it. */
export const strideBytes = 16 * unrolled;

/** `addresses` of the operands, multiples of an element each, and how many bytes of each, a multiple of `strideBytes`. */
export type VectorSum = (addresses: readonly number[], bytes: number) => void;

/**
 * Sums `count` vectors, operand 0 first, then 1 and so on, and stores the sum in the first `targets` of the `order`ed
 * operands: the order of the additions is that of the ranks, so that the bits don't depend on who adds.
 */
export function compileSum(type: SumType, memory: WasmMemory, count: number, targets: readonly number[]): VectorSum {
  const { sumsPerVector, part, add, join } = arithmetics[type];
  const end = count;
  const spare = [count + 1, count + 2] as const;
  const sumOf = (vector: number, which: number): number => count + 3 + vector * sumsPerVector + which;
  const parts = Array.from({ length: sumsPerVector }, (_, which) => which);
  const vectors = Array.from({ length: unrolled }, (_, vector) => vector);
  const operands = Array.from({ length: count }, (_, operand) => operand);
  const [first = 0, ...others] = operands;
  const advance = (operand: number): number[] => [...localGet(operand), ...constant(strideBytes), 0x6a];
  const body = [
    ...vectors.flatMap((vector) => {
      const of = (operand: number): number[] => [...localGet(operand), ...load(16 * vector)];
      return parts.flatMap((which) => [
        ...part(of(first), which, spare),
        ...others.flatMap((operand) => [...part(of(operand), which, spare), ...add]),
        ...localSet(sumOf(vector, which)),
      ]);
    }),
    // The first of a vector's sums becomes what they make.
    ...vectors.flatMap((vector) => {
      const sums = parts.map((which) => sumOf(vector, which));
      return [...join(sums, spare), ...localSet(sumOf(vector, 0))];
    }),
    ...targets.flatMap((operand) =>
      vectors.flatMap((vector) => [...localGet(operand), ...localGet(sumOf(vector, 0)), ...store(16 * vector)]),
    ),
    ...others.flatMap((operand) => [...advance(operand), ...localSet(operand)]),
    ...[...advance(first), ...localTee(first), ...localGet(end), 0x49, 0x0d, 0], // again if below the end
  ];
  const { run } = assemble({
    parameters: [...operands, end].map(() => types.i32),
    locals: [[2 + unrolled * sumsPerVector, types.v128]],
    code: [0x03, 0x40, ...body, 0x0b],
    memory,
  });
  return (addresses, bytes) => {
    if (bytes > 0) run(...addresses, addresses[0]! + bytes);
  };
}

/**
 * The few elements after the last whole stride, with the same results: `bytes` of each operand, summed into `targets`.
 * Integers wrap around, as they do in vectors.
 */
export function sumOneByOne(
  type: SumType,
  buffer: ArrayBufferLike,
  { addresses, targets, bytes }: { addresses: readonly number[]; targets: readonly number[]; bytes: number },
): void {
  if (type === "bfloat16" || type === "float16") {
    assert(bytes === 0, `${bytes} bytes of halves after the last stride`);
  } else if (type === "float32") {
    const count = bytes / 4;
    const operands = addresses.map((address) => new Float32Array(buffer, address, count));
    for (let i = 0; i < count; i++) {
      const total = operands.reduce((so, operand) => Math.fround(so + operand[i]!), -0);
      for (const target of targets) operands[target]![i] = total;
    }
  } else {
    const count = bytes / 8;
    const operands = addresses.map((address) => new BigInt64Array(buffer, address, count));
    for (let i = 0; i < count; i++) {
      const total = operands.reduce((so, operand) => so + operand[i]!, 0n);
      for (const target of targets) operands[target]![i] = total;
    }
  }
}

/** Bytes that are summed at once: what was copied for it is still in the first-level cache. */
const blockBytes = 32 * 1024;

/** Memory in which a sum needs room for the other operand. */
export const scratchBytes = blockBytes;

/** How to add to what lies in a memory, by its buffer: `addend` to what is at `address`. */
type Adder = (type: SumType, address: number, addend: Uint8Array) => void;

const adders = new WeakMap<ArrayBufferLike, Adder>();

/** From now on sums into this memory are made where they are; it has `scratchBytes` of room at `scratch`. */
export function registerMemory(memory: WasmMemory, scratch: number): void {
  const bytes = new Uint8Array(memory.buffer);
  const pairOf = compilePairs(memory);
  adders.set(memory.buffer, (type, address, addend) => {
    const add = pairOf(type);
    const rest = addend.byteLength % strideBytes;
    const vectors = addend.byteLength - rest;
    for (let start = 0; start < vectors; start += blockBytes) {
      const length = Math.min(blockBytes, vectors - start);
      bytes.set(partOf(addend, start, length), scratch);
      add([address + start, scratch], length);
    }
    if (rest === 0) return;
    bytes.set(partOf(addend, vectors, rest), scratch);
    sumOneByOne(type, memory.buffer, { addresses: [address + vectors, scratch], targets: [0], bytes: rest });
  });
}

/** As `subarray` has it, which takes a while for a Buffer. */
function partOf({ buffer, byteOffset }: Uint8Array, start: number, length: number): Uint8Array {
  return new Uint8Array(buffer, byteOffset + start, length);
}

/** Sums of two vectors into the first, compiled when first used. */
function compilePairs(memory: WasmMemory): (type: SumType) => VectorSum {
  const compiled: Partial<Record<SumType, VectorSum>> = {};
  return (type) => (compiled[type] ??= compileSum(type, memory, 2, [0]));
}

/** Zeros, of which sums are made where they are. */
export function createSummable(length: number): Float32Array {
  const bytes = Math.ceil((4 * length) / strideBytes) * strideBytes;
  const memory = createMemory(bytes + scratchBytes);
  registerMemory(memory, bytes);
  return new Float32Array(memory.buffer, 0, length);
}

const blocks = createMemory(2 * blockBytes);
const sums = new Uint8Array(blocks.buffer, 0, blockBytes);
const addends = new Uint8Array(blocks.buffer, blockBytes, blockBytes);
const pairOfBlocks = compilePairs(blocks);

/**
 * Adds the numbers in `addend`, at any alignment, to those at `offset` bytes of `target`, in place. Both are whole numbers of
 * elements, and in memory of `createSummable` those of the target lie at multiples of their size.
 */
export function addNumbers(type: SumType, target: Uint8Array, offset: number, addend: Uint8Array): void {
  const adder = adders.get(target.buffer);
  if (adder !== undefined) return adder(type, target.byteOffset + offset, addend);
  for (let start = 0; start < addend.byteLength; start += blockBytes) {
    const length = Math.min(blockBytes, addend.byteLength - start);
    const part = target.subarray(offset + start, offset + start + length);
    sums.set(part);
    addends.set(length === addend.byteLength ? addend : addend.subarray(start, start + length));
    pairOfBlocks(type)([0, blockBytes], Math.ceil(length / strideBytes) * strideBytes); // the last stride computes on leftovers
    part.set(length === blockBytes ? sums : sums.subarray(0, length));
  }
}
