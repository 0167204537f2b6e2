// The update formulas, by name: which state buffers an optimizer keeps, the scalars of a step, and what happens to
// one element. A new optimizer is a new function. Loops, decay groups and state handling are in optimizer.ts.
//
// Each follows torch.optim's order of operations in float32, after clipping (g *= clip). Scalars are computed in double
// precision and rounded once. Decoupled decay shrinks the weight, a coupled one adds decay * p to its gradient.

import type { Config } from "../../common/config/schema.ts";
import { assertNever } from "../../common/errors.ts";
import type { Formula, Vector } from "./optimizer-kernel.ts";

export type OptimizerSettings = Config["train"]["optimizer"];
export type OptimizerName = OptimizerSettings["name"];
type Settings<Name extends OptimizerName> = Extract<OptimizerSettings, { name: Name }>;

export const optimizerNames = ["adamw", "adam", "sgd", "rmsprop"] as const satisfies readonly OptimizerName[];

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
  values(at: StepScalars): Readonly<Record<string, number>>;
  update(formula: Formula): void;
}

export function optimizerRule(settings: OptimizerSettings): OptimizerRule {
  switch (settings.name) {
    case "adamw":
    case "adam":
      return adam(settings);
    case "sgd":
      return sgd(settings);
    case "rmsprop":
      return rmsprop(settings);
    default:
      return assertNever(settings);
  }
}

/**
 * AdamW (Loshchilov and Hutter, 2019) decays decoupled, Adam (Kingma and Ba, 2015) coupled:
 *
 *     p *= 1 - lr * decay                       AdamW
 *     g += decay * p                            Adam
 *     m  = m * beta1 + g * (1 - beta1)
 *     v  = v * beta2 + g * g * (1 - beta2)
 *     p += -(lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 */
function adam({ name, beta1, beta2, epsilon }: Settings<"adam"> | Settings<"adamw">): OptimizerRule {
  const isCoupled = name === "adam";
  return {
    slots: ["exp_avg", "exp_avg_sq"],
    scalars: ["clip", "keep", "decay", "beta1", "rest1", "beta2", "rest2", "negativeStep", "correction2", "epsilon"],
    values: ({ step, learningRate, clipFactor, weightDecay }) => ({
      ...{ clip: clipFactor, keep: 1 - learningRate * weightDecay, decay: weightDecay },
      ...{ beta1, rest1: 1 - beta1, beta2, rest2: 1 - beta2, epsilon },
      negativeStep: -learningRate / (1 - beta1 ** step),
      correction2: Math.sqrt(1 - beta2 ** step),
    }),
    update(formula) {
      const { load, store, scalar, keep, add, multiply, divide, squareRoot } = formula;
      const gradient = keep(isCoupled ? withPenalty(formula) : clipped(formula));
      const parameter = isCoupled ? load(0) : keep(multiply(load(0), scalar("keep")));
      const m = keep(add(multiply(load(2), scalar("beta1")), multiply(gradient, scalar("rest1"))));
      const v = keep(add(multiply(load(3), scalar("beta2")), multiply(multiply(gradient, scalar("rest2")), gradient)));
      store(2, m);
      store(3, v);
      const denominator = add(divide(squareRoot(v), scalar("correction2")), scalar("epsilon"));
      store(0, add(parameter, divide(multiply(m, scalar("negativeStep")), denominator)));
    },
  };
}

/**
 * Stochastic gradient descent with the momentum of Sutskever et al. (2013), dampening 0:
 *
 *     g   += decay * p
 *     buf  = buf * momentum + g                 torch begins with buf = g, which a buffer of zeros gives too
 *     p   += -lr * buf                          Nesterov: p += -lr * (g + momentum * buf)
 */
function sgd({ momentum, nesterov }: Settings<"sgd">): OptimizerRule {
  return {
    slots: momentum === 0 ? [] : ["momentum_buffer"],
    scalars: ["clip", "decay", "momentum", "negativeRate"],
    values: ({ learningRate, clipFactor, weightDecay }) => ({
      ...{ clip: clipFactor, decay: weightDecay, momentum, negativeRate: -learningRate },
    }),
    update(formula) {
      const { load, store, scalar, keep, add, multiply } = formula;
      const gradient = keep(withPenalty(formula));
      let direction: Vector = gradient;
      if (momentum !== 0) {
        const buffer = keep(add(multiply(load(2), scalar("momentum")), gradient));
        store(2, buffer);
        direction = nesterov ? add(gradient, multiply(buffer, scalar("momentum"))) : buffer;
      }
      store(0, add(load(0), multiply(direction, scalar("negativeRate"))));
    },
  };
}

/**
 * RMSprop (Tieleman and Hinton, 2012), not centered; epsilon outside the root, as torch has it:
 *
 *     g   += decay * p
 *     v    = v * alpha + g * g * (1 - alpha)
 *     p   += -lr * g / (sqrt(v) + eps)          with momentum: buf = buf * momentum + g / (sqrt(v) + eps); p += -lr * buf
 */
function rmsprop({ alpha, epsilon, momentum }: Settings<"rmsprop">): OptimizerRule {
  return {
    slots: momentum === 0 ? ["square_avg"] : ["square_avg", "momentum_buffer"],
    scalars: ["clip", "decay", "alpha", "rest", "epsilon", "momentum", "negativeRate"],
    values: ({ learningRate, clipFactor, weightDecay }) => ({
      ...{ clip: clipFactor, decay: weightDecay, alpha, rest: 1 - alpha, epsilon, momentum },
      negativeRate: -learningRate,
    }),
    update(formula) {
      const { load, store, scalar, keep, add, multiply, divide, squareRoot } = formula;
      const gradient = keep(withPenalty(formula));
      const v = keep(add(multiply(load(2), scalar("alpha")), multiply(multiply(gradient, scalar("rest")), gradient)));
      store(2, v);
      const root = keep(add(squareRoot(v), scalar("epsilon")));
      if (momentum === 0) {
        store(0, add(load(0), divide(multiply(gradient, scalar("negativeRate")), root)));
        return;
      }
      const buffer = keep(add(multiply(load(3), scalar("momentum")), divide(gradient, root)));
      store(3, buffer);
      store(0, add(load(0), multiply(buffer, scalar("negativeRate"))));
    },
  };
}

function clipped({ load, scalar, multiply }: Formula): Vector {
  return multiply(load(1), scalar("clip"));
}

/** The clipped gradient and that of the L2 penalty. */
function withPenalty(formula: Formula): Vector {
  const { load, scalar, add, multiply } = formula;
  return add(clipped(formula), multiply(load(0), scalar("decay")));
}
