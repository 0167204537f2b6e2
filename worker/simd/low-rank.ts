// Products of one large matrix with thin ones, a few columns wide, as a low-rank approximation needs them. All matrices lie row by
// row; the thin factor on the side of the columns lies transposed, as `rank` rows of the large one's length, so that
// every loop runs along rows:
//
//     project      P[i, k] = sum over j of M[i, j] Q[k, j]              P is [rows, rank], Q [rank, columns]
//     accumulate   Q[k, j] = sum over i of M[i, j] P[i, k]
//     subtract     M[i, j] -= sum over k of P[i, k] Q[k, j]             expand: = instead of -=
//
// Each is one pass over the large matrix, a few rows at a time, which are copied to where WebAssembly can read them; its
// thin factors stay there. Cost: 2 rank multiplications and additions an element.

import { assert } from "../../common/errors.ts";
import {
  assemble,
  constant,
  createMemory,
  leb,
  load,
  localGet,
  localSet,
  localTee,
  simd,
  store,
  types,
} from "./assembler.ts";
import type { Code } from "./assembler.ts";
import { floats, op } from "./vectors.ts";

export interface Matrix {
  /** [rows, columns] */
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

export interface LowRank {
  project(matrix: Matrix, q: Float32Array, p: Float32Array): void;
  accumulate(matrix: Matrix, p: Float32Array, q: Float32Array): void;
  /** In place. */
  subtract(matrix: Matrix, p: Float32Array, q: Float32Array): void;
  expand(matrix: Matrix, p: Float32Array, q: Float32Array): void;
}

/** Bytes of the large matrix that are computed on together, unless one row is longer. */
const blockBytes = 32 * 1024;

// Locals: addresses of the rows of M and P, where the block ends, of the rows of Q and how long they are; the place in the row;
// then vectors.
const [m, p, end, q, rowBytes, j, x] = [0, 1, 2, 3, 4, 5, 6];

/** For matrices of at most `columns` columns, and thin factors of exactly `rank`. */
export function createLowRank(rank: number, columns: number): LowRank {
  assert(rank >= 1 && columns >= 1, `rank ${rank}, ${columns} columns`);
  const longest = paddedOf(columns);
  const mostRows = Math.max(1, Math.floor(blockBytes / (4 * longest)));
  // A matrix that is narrower has more rows in a block.
  const blockFloats = Math.max(longest, blockBytes / 4);
  const mAt = 0;
  const qAt = 4 * blockFloats;
  const pAt = qAt + 4 * rank * longest;
  const memory = createMemory(pAt + 4 * rank * Math.max(mostRows, blockBytes / 16) + 16);
  const all = new Float32Array(memory.buffer);
  const kernels = {
    project: compile(project(rank), rank, memory),
    accumulate: compile(accumulate(rank), rank, memory),
    subtract: compile(expand(rank, true), rank, memory),
    expand: compile(expand(rank, false), rank, memory),
  };

  function fillQ(from: Float32Array, columns: number): void {
    const padded = paddedOf(columns);
    for (let k = 0; k < rank; k++)
      copyRow(all, qAt / 4 + k * padded, from.subarray(k * columns, (k + 1) * columns), padded);
  }

  /** `reads`, `writes`: whether M, or P, goes in and comes out. */
  function run(
    kernel: keyof typeof kernels,
    { values, rows, columns }: Matrix,
    thin: Float32Array,
    { readsM, writesM, writesP }: { readsM: boolean; writesM: boolean; writesP: boolean },
  ): void {
    const padded = paddedOf(columns);
    const rowsAtOnce = Math.max(1, Math.floor(blockBytes / (4 * padded)));
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - row);
      if (readsM) copyRows(all, values, row * columns, { count, columns, padded });
      const part = thin.subarray(row * rank, (row + count) * rank);
      if (!writesP) all.set(part, pAt / 4);
      kernels[kernel](mAt, pAt, mAt + 4 * count * padded, qAt, 4 * padded);
      if (writesP) part.set(all.subarray(pAt / 4, pAt / 4 + count * rank));
      if (writesM) copyBack(all, values, row * columns, { count, columns, padded });
    }
  }

  return {
    project(matrix, q, p) {
      fillQ(q, matrix.columns);
      run("project", matrix, p, { readsM: true, writesM: false, writesP: true });
    },
    accumulate(matrix, p, q) {
      const { columns } = matrix;
      const padded = paddedOf(columns);
      all.fill(0, qAt / 4, qAt / 4 + rank * padded);
      run("accumulate", matrix, p, { readsM: true, writesM: false, writesP: false });
      for (let k = 0; k < rank; k++) {
        const from = qAt / 4 + k * padded;
        q.set(all.subarray(from, from + columns), k * columns);
      }
    },
    subtract(matrix, p, q) {
      fillQ(q, matrix.columns);
      run("subtract", matrix, p, { readsM: true, writesM: true, writesP: false });
    },
    expand(matrix, p, q) {
      fillQ(q, matrix.columns);
      run("expand", matrix, p, { readsM: false, writesM: true, writesP: false });
    },
  };
}

const paddedOf = (columns: number): number => Math.ceil(columns / 4) * 4;

/** A row, and zeros up to `padded`. */
function copyRow(all: Float32Array, at: number, row: Float32Array, padded: number): void {
  all.set(row, at);
  if (row.length < padded) all.fill(0, at + row.length, at + padded);
}

interface Rows {
  readonly count: number;
  readonly columns: number;
  readonly padded: number;
}

function copyRows(all: Float32Array, values: Float32Array, from: number, { count, columns, padded }: Rows): void {
  if (columns === padded) return all.set(values.subarray(from, from + count * columns));
  for (let row = 0; row < count; row++) {
    const start = from + row * columns;
    copyRow(all, row * padded, values.subarray(start, start + columns), padded);
  }
}

function copyBack(all: Float32Array, values: Float32Array, to: number, { count, columns, padded }: Rows): void {
  if (columns === padded) return values.set(all.subarray(0, count * columns), to);
  for (let row = 0; row < count; row++) {
    values.set(all.subarray(row * padded, row * padded + columns), to + row * columns);
  }
}

/** Code for one row: `before` the loop over its vectors, for each of them, and `after`. */
interface PerRow {
  readonly before: Code;
  readonly each: Code;
  readonly after: Code;
}

const thins = (rank: number): number[] => Array.from({ length: rank }, (_, k) => k);
/** A vector for each k: sums, or an element of P in all lanes. */
const vectorOf = (k: number): number => x + 1 + k;
/** Address of a vector of row k of Q. */
const inQ = (k: number): number[] => [
  ...[...localGet(rowBytes), ...constant(k), 0x6c, ...localGet(q), 0x6a, ...localGet(j), 0x6a],
];
const inM = [...localGet(m), ...localGet(j), 0x6a];
const splatP = (k: number): number[] => [
  ...[...localGet(p), ...op("load32Splat"), 2, ...leb(4 * k), ...localSet(vectorOf(k))],
];

function project(rank: number): PerRow {
  const swap = (k: number, order: readonly number[]): number[] => [
    ...[...localGet(vectorOf(k)), ...localGet(vectorOf(k)), ...localGet(vectorOf(k)), ...simd(0x0d)],
    ...order.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
    ...[...op("add"), ...localSet(vectorOf(k))],
  ];
  return {
    before: thins(rank).flatMap((k) => [...floats(0), ...localSet(vectorOf(k))]),
    each: [
      ...[...inM, ...load(0), ...localSet(x)],
      ...thins(rank).flatMap((k) => [
        ...[...localGet(x), ...inQ(k), ...load(0), ...op("multiply")],
        ...[...localGet(vectorOf(k)), ...op("add"), ...localSet(vectorOf(k))],
      ]),
    ],
    after: thins(rank).flatMap((k) => [
      ...[...swap(k, [2, 3, 0, 1]), ...swap(k, [1, 0, 3, 2])],
      ...[...localGet(p), ...localGet(vectorOf(k)), ...simd(0x5a), 2, ...leb(4 * k), 0], // stores one lane
    ]),
  };
}

function accumulate(rank: number): PerRow {
  return {
    before: thins(rank).flatMap(splatP),
    each: [
      ...[...inM, ...load(0), ...localSet(x)],
      ...thins(rank).flatMap((k) => [
        ...[...inQ(k), ...inQ(k), ...load(0)],
        ...[...localGet(x), ...localGet(vectorOf(k)), ...op("multiply"), ...op("add"), ...store(0)],
      ]),
    ],
    after: [],
  };
}

function expand(rank: number, subtracts: boolean): PerRow {
  const product = thins(rank).flatMap((k) => [
    ...[...inQ(k), ...load(0), ...localGet(vectorOf(k)), ...op("multiply")],
    ...(k === 0 ? [] : op("add")),
  ]);
  return {
    before: thins(rank).flatMap(splatP),
    each: [...inM, ...(subtracts ? [...inM, ...load(0), ...product, ...op("subtract")] : product), ...store(0)],
    after: [],
  };
}

function compile({ before, each, after }: PerRow, rank: number, memory: ReturnType<typeof createMemory>) {
  const branchBack = [0x0d, 0, 0x0b];
  const advance = (local: number, by: Code): number[] => [...localGet(local), ...by, 0x6a];
  const code = [
    ...[0x03, 0x40, ...before, ...constant(0), ...localSet(j)],
    ...[0x03, 0x40, ...each, ...advance(j, constant(16)), ...localTee(j), ...localGet(rowBytes), 0x49, ...branchBack],
    ...after,
    ...[...advance(p, constant(4 * rank)), ...localSet(p)],
    ...[...advance(m, localGet(rowBytes)), ...localTee(m), ...localGet(end), 0x49, ...branchBack],
  ];
  return assemble({
    parameters: [m, p, end, q, rowBytes].map(() => types.i32),
    locals: [
      [1, types.i32],
      [1 + rank, types.v128],
    ],
    code,
    memory,
  }).run;
}
