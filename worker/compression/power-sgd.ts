// PowerSGD (Vogels, Karimireddy and Jaggi, 2019): the gradient of a matrix as a product of two thin ones, found by a single
// round of the power method that begins where the last step ended. With M the sum of the ranks' corrected gradients M_r:
//
//     P_r = M_r Q           all-reduce, P orthonormal           [rows, rank]
//     Q_r = M_r' P          all-reduce                          [columns, rank], kept transposed
//     update = P Q'         error of rank r = M_r - P Q_r'
//
// Both products are linear, so the all-reduces are plain sums of float32, the update is the same on all ranks, and the errors add
// up to what the update lacks. Q is kept for the next step. Ranks that begin with another Q (a newcomer) find the same update
// as the others, only a worse one. Vectors, and matrices whose factors would be as large as they are, travel as they are, with the P.
//
// Bytes: 4 rank (rows + columns) for a matrix, instead of 4 rows columns.

import { createRandom } from "../../common/random.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { viewOf, type ParameterLayout, type ParameterSpec } from "../model/parameters.ts";
import { createLowRank, type Matrix } from "../simd/low-rank.ts";
import { allReduceBytes, correct, type Method } from "./compressor.ts";

interface Factors {
  readonly spec: ParameterSpec;
  readonly rows: number;
  readonly columns: number;
  readonly p: Float32Array;
  readonly q: Float32Array;
  /** Where the power method begins. */
  readonly start: Float32Array;
}

export function createPowerSgd(
  layout: ParameterLayout,
  rank: number,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): Method {
  const matrices = layout.specs.flatMap((spec) => {
    const [rows = 1, ...rest] = spec.shape;
    const columns = rest.reduce((product, length) => product * length, 1);
    return rank * (rows + columns) < rows * columns ? [{ spec, rows, columns }] : [];
  });
  const others = layout.specs.filter((spec) => !matrices.some((matrix) => matrix.spec === spec));
  const sizeOf = (parts: readonly { readonly size: number }[]): number =>
    parts.reduce((sum, { size }) => sum + size, 0);
  const rowsOf = matrices.reduce((sum, { rows }) => sum + rows, 0);
  const columnsOf = matrices.reduce((sum, { columns }) => sum + columns, 0);
  // All P, then what is not compressed; all Q.
  const first = endpoint.allocate(rank * rowsOf + sizeOf(others));
  const second = endpoint.allocate(rank * columnsOf);
  const [nextOf, nextOfQ] = [places(first), places(second)];
  const factors = matrices.map(({ spec, rows, columns }): Factors => {
    const [p, q] = [nextOf(rank * rows), nextOfQ(rank * columns)];
    return { spec, rows, columns, p, q, start: new Float32Array(rank * columns) };
  });
  const plain = others.map((spec) => ({ spec, values: nextOf(spec.size) }));
  const lowRank = createLowRank(rank, Math.max(1, ...matrices.map(({ columns }) => columns)));
  const matrixIn = (flat: Float32Array, { spec, rows, columns }: Factors): Matrix => ({
    ...{ rows, columns },
    values: viewOf(flat, spec),
  });
  factors.forEach((each) => begin(each, rank));
  return {
    async reduce(exchange) {
      const { gradients, scale, next, collective, call } = exchange;
      correct(exchange);
      for (const each of factors) lowRank.project(matrixIn(next, each), each.start, each.p);
      for (const { spec, values } of plain) {
        values.set(viewOf(gradients, spec));
        viewOf(next, spec).fill(0);
      }
      const summedP = await collective.allReduce(first, call(0));
      for (const each of factors) {
        orthonormalise(each.p, rank);
        lowRank.accumulate(matrixIn(next, each), each.p, each.q);
        lowRank.subtract(matrixIn(next, each), each.p, each.q);
      }
      const summedQ = await collective.allReduce(second, call(1));
      for (const each of factors) {
        const scaled = scale === 1 ? each.p : each.p.map((value) => value * scale);
        lowRank.expand(matrixIn(gradients, each), scaled, each.q);
      }
      for (const { spec, values } of plain) viewOf(gradients, spec).set(values);
      return [summedP, summedQ];
    },
    commit(applied) {
      if (!applied) return;
      for (const each of factors) {
        each.start.set(each.q);
        revive(each, rank);
      }
    },
    forget: () => factors.forEach((each) => begin(each, rank)),
    bytesPerStep: (worldSize) => allReduceBytes(4 * (first.length + second.length), worldSize),
  };
}

/** Consecutive parts of a buffer. */
function places(buffer: Float32Array): (length: number) => Float32Array {
  let at = 0;
  return (length) => buffer.subarray(at, (at += length));
}

/** The same on every worker. */
function begin({ spec, start }: Factors, rank: number): void {
  for (let k = 0; k < rank; k++) draw(spec.name, start, k, rank);
}

function draw(name: string, q: Float32Array, k: number, rank: number): void {
  const random = createRandom(k, `powersgd ${name}`);
  const columns = q.length / rank;
  for (let j = 0; j < columns; j++) q[k * columns + j] = random.normal();
}

/** A direction that was lost, because a gradient was 0 or of a lower rank, would stay lost. */
function revive({ spec, start }: Factors, rank: number): void {
  const columns = start.length / rank;
  for (let k = 0; k < rank; k++) {
    if (start.subarray(k * columns, (k + 1) * columns).every((value) => value === 0)) draw(spec.name, start, k, rank);
  }
}

/**
 * The columns of P [rows, rank] become orthonormal, in place, by the modified method of Gram and Schmidt in double precision; one
 * that depends on those before it becomes 0. P is thin: this is little beside the products.
 */
export function orthonormalise(p: Float32Array, rank: number): void {
  const rows = p.length / rank;
  for (let k = 0; k < rank; k++) {
    const before = Math.sqrt(dot(p, k, k, rank));
    for (let other = 0; other < k; other++) {
      const along = dot(p, k, other, rank);
      for (let row = 0; row < rows; row++) p[row * rank + k]! -= along * p[row * rank + other]!;
    }
    const norm = Math.sqrt(dot(p, k, k, rank));
    // What rounding left of a column that depends on others is no direction.
    const factor = norm > 1e-6 * before ? 1 / norm : norm <= 1e-6 * before ? 0 : Number.NaN;
    for (let row = 0; row < rows; row++) p[row * rank + k]! *= factor;
  }
}

function dot(p: Float32Array, a: number, b: number, rank: number): number {
  let sum = 0;
  for (let at = 0; at < p.length; at += rank) sum += p[at + a]! * p[at + b]!;
  return sum;
}
