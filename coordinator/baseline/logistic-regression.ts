// Logistic regression on sparse vectors with an L2 penalty, one regression for each label against the rest, by dual
// coordinate descent (Yu, Huang and Lin, 2011): no learning rate to choose, and the same result from the same seed.
//
// It minimises, over w and a bias that is a feature of value 1,   |w|^2 / 2 + C * sum_i log(1 + exp(-y_i w.x_i)).
// Each text has a pair of dual variables a and C - a; the dual in one of them is solved by Newton's method, and w, kept
// at sum_i y_i a_i x_i, moves along x_i. A pass costs O(nonzero values).

import { createRandom, permutation } from "../../common/random.ts";
import type { SparseVector } from "./bag-of-words.ts";

export interface LogisticRegression {
  /** w.x + bias: above 0 means the label, its logistic function is the probability. */
  readonly score: (vector: SparseVector) => number;
  /** By feature. */
  readonly weights: Float64Array;
}

export interface FitOptions {
  readonly featureCount: number;
  readonly seed: number;
  /** C: the weight of the data against the penalty. */
  readonly strength: number;
}

const mostPasses = 100;
/** Largest change of a dual variable in a pass, relative to C, that ends the fit. */
const tolerance = 1e-3;

/** `isPositive[i]` says whether `vectors[i]` has the label. */
export function fitLogisticRegression(
  vectors: readonly SparseVector[],
  isPositive: readonly boolean[],
  { featureCount, seed, strength }: FitOptions,
): LogisticRegression {
  const weights = new Float64Array(featureCount);
  let bias = 0;
  const score = ({ features, values }: SparseVector): number => {
    let sum = bias;
    for (let i = 0; i < features.length; i++) sum += weights[features[i]!]! * values[i]!;
    return sum;
  };
  const move = ({ features, values }: SparseVector, by: number): void => {
    for (let i = 0; i < features.length; i++) weights[features[i]!]! += by * values[i]!;
    bias += by;
  };
  const signs = isPositive.map((positive) => (positive ? 1 : -1));
  const norms = vectors.map(({ values }) => 1 + values.reduce((sum, value) => sum + value * value, 0));
  const duals = new Float64Array(vectors.length).fill(1e-3 * strength);
  vectors.forEach((vector, i) => move(vector, signs[i]! * duals[i]!));
  const random = createRandom(seed, "logistic regression");
  for (let pass = 0; pass < mostPasses; pass++) {
    let largest = 0;
    for (const i of permutation(vectors.length, random)) {
      const before = duals[i]!;
      const after = solveDual(before, signs[i]! * score(vectors[i]!), norms[i]!, strength);
      duals[i] = after;
      move(vectors[i]!, signs[i]! * (after - before));
      largest = Math.max(largest, Math.abs(after - before) / strength);
    }
    if (largest < tolerance) break;
  }
  return { score, weights };
}

/**
 * The root in (0, C) of  norm * (a - before) + margin + log(a / (C - a)), which ascends in a: Newton's method, kept inside
 * an interval that holds the root.
 */
function solveDual(before: number, margin: number, norm: number, strength: number): number {
  let [low, high] = [0, strength];
  let at = before;
  for (let i = 0; i < 50; i++) {
    const value = norm * (at - before) + margin + Math.log(at / (strength - at));
    if (value > 0) high = at;
    else low = at;
    const next = at - value / (norm + strength / (at * (strength - at)));
    const moved = next > low && next < high ? next : (low + high) / 2;
    if (Math.abs(moved - at) <= 1e-9 * strength) break;
    at = moved;
  }
  // Strictly inside, where the logarithm is finite.
  return Math.min(Math.max(at, 1e-12 * strength), strength * (1 - 1e-12));
}
