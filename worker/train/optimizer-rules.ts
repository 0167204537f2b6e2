// The update formulas, by name: which state buffers an optimizer keeps, the scalars of a step, and what happens to
// one element. A new optimizer is a new entry. Loops, decay groups and state handling are in optimizer.ts.

import type { Config } from "../../common/config/schema.ts";
import type { Formula } from "./optimizer-kernel.ts";

export type OptimizerSettings = Config["train"]["optimizer"];
export type OptimizerName = OptimizerSettings["name"];

/** What changes from step to step; `weightDecay` differs between the decay groups. */
export interface StepScalars {
  /** From 1. */
  readonly step: number;
  readonly learningRate: number;
  readonly clipFactor: number;
  readonly weightDecay: number;
}

/** Arrays 0 and 1 of a formula are parameters and gradients; state buffers follow in the order of `slots`. */
export interface OptimizerRule {
  /** State buffers, named as torch.optim does. They start at zero. */
  readonly slots: readonly string[];
  readonly scalars: readonly string[];
  values(settings: OptimizerSettings, at: StepScalars): Readonly<Record<string, number>>;
  update(formula: Formula): void;
}

/**
 * AdamW (Loshchilov and Hutter, 2019) in the order of torch.optim.AdamW, after clipping:
 *
 *     g *= clip
 *     p *= 1 - lr * decay
 *     m  = m * beta1 + g * (1 - beta1)
 *     v  = v * beta2 + g * g * (1 - beta2)
 *     p += -(lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * Scalars are computed in double precision and rounded once.
 */
const adamw: OptimizerRule = {
  slots: ["exp_avg", "exp_avg_sq"],
  scalars: ["clip", "keep", "beta1", "rest1", "beta2", "rest2", "negativeStep", "correction2", "epsilon"],
  values: ({ beta1, beta2, epsilon }, { step, learningRate, clipFactor, weightDecay }) => ({
    clip: clipFactor,
    keep: 1 - learningRate * weightDecay,
    beta1,
    rest1: 1 - beta1,
    beta2,
    rest2: 1 - beta2,
    negativeStep: -learningRate / (1 - beta1 ** step),
    correction2: Math.sqrt(1 - beta2 ** step),
    epsilon,
  }),
  update({ load, store, scalar, keep, add, multiply, divide, squareRoot }) {
    const gradient = keep(multiply(load(1), scalar("clip")));
    const parameter = keep(multiply(load(0), scalar("keep")));
    const m = keep(add(multiply(load(2), scalar("beta1")), multiply(gradient, scalar("rest1"))));
    const v = keep(add(multiply(load(3), scalar("beta2")), multiply(multiply(gradient, scalar("rest2")), gradient)));
    store(2, m);
    store(3, v);
    const denominator = add(divide(squareRoot(v), scalar("correction2")), scalar("epsilon"));
    store(0, add(parameter, divide(multiply(m, scalar("negativeStep")), denominator)));
  },
};

export const optimizerRules: Readonly<Record<OptimizerName, OptimizerRule>> = { adamw };
