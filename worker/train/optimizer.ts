// Optimizers over flat float32 buffers: clipping, decay groups, state that can be saved and restored bit for bit.
// The learning rate comes from the coordinator with every step; the formulas are in optimizer-rules.ts.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { ParameterLayout } from "../model/parameters.ts";
import { compileKernel } from "./optimizer-kernel.ts";
import { optimizerRule, type OptimizerName, type OptimizerSettings } from "./optimizer-rules.ts";

export type { OptimizerSettings } from "./optimizer-rules.ts";
export { globalNorm } from "./summary.ts";

export interface StepOptions {
  readonly learningRate: number;
  /** All gradients are multiplied by this first; see `clipFactor`. */
  readonly clipFactor: number;
}

/** The scalars of a step, of parameters that decay and of those that don't. */
export interface UpdateAt {
  readonly decaying: Readonly<Record<string, number>>;
  readonly others: Readonly<Record<string, number>>;
}

/** Elements [begin, end). */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

export interface OptimizerState {
  readonly name: OptimizerName;
  /** Steps taken so far. */
  readonly step: number;
  /** Flat buffers in the layout's order, by torch.optim's names ("exp_avg", "exp_avg_sq"). */
  readonly buffers: Readonly<Record<string, Float32Array>>;
}

export interface Optimizer {
  readonly name: OptimizerName;
  /** Updates `parameters` in place; `gradients` are left as they are. Equal inputs give equal bits on every machine. */
  step(parameters: Float32Array, gradients: Float32Array, options: StepOptions): void;
  /** Counts a step that `update` makes in parts. */
  begin(options: StepOptions): UpdateAt;
  /**
   * Elements [begin, end) of a step. `arrays` are parameters, gradients and the state's buffers, each from element `origin` on.
   * However a step is cut into parts, it gives the bits of `step`.
   */
  update(arrays: readonly Float32Array[], at: UpdateAt, range: Range, origin?: number): void;
  /** The live buffers, not copies: save them before the next step. */
  state(): OptimizerState;
  /** Copies a saved state in, but for buffers that are the live ones. Throws `checkpoint_invalid` if it belongs to another optimizer or model. */
  load(state: OptimizerState): void;
}

/**
 * Weight decay applies to parameters of two or more dimensions (embeddings included), as in the GPT-2 recipes. `allocate`
 * makes the buffers of the state, of zeros.
 */
export function createOptimizer(
  settings: OptimizerSettings,
  layout: ParameterLayout,
  allocate: (length: number) => Float32Array = (length) => new Float32Array(length),
): Optimizer {
  const rule = optimizerRule(settings);
  const kernel = compileKernel(2 + rule.slots.length, rule.scalars, (formula) => rule.update(formula));
  const groups = decayGroups(layout);
  const buffers = rule.slots.map(() => allocate(layout.size));
  let step = 0;

  function begin({ learningRate, clipFactor }: StepOptions): UpdateAt {
    assert(Number.isFinite(learningRate) && learningRate >= 0, `learning rate ${learningRate}`);
    assert(Number.isFinite(clipFactor), `clip factor ${clipFactor}`);
    step += 1;
    const valuesOf = (weightDecay: number) => rule.values({ step, learningRate, clipFactor, weightDecay });
    return { decaying: valuesOf(settings.weight_decay), others: valuesOf(0) };
  }

  function update(arrays: readonly Float32Array[], at: UpdateAt, range: Range, origin = 0): void {
    for (const group of groups) {
      if (group.end <= range.begin) continue;
      if (group.begin >= range.end) return;
      const [from, to] = [Math.max(group.begin, range.begin), Math.min(group.end, range.end)];
      kernel.run(arrays, from - origin, to - origin, group.decays ? at.decaying : at.others);
    }
  }

  return {
    name: settings.name,
    begin,
    update,
    step(parameters, gradients, options) {
      assert(parameters.length === layout.size, `${parameters.length} parameters in a layout of ${layout.size}`);
      assert(gradients.length === layout.size, `${gradients.length} gradients in a layout of ${layout.size}`);
      update([parameters, gradients, ...buffers], begin(options), { begin: 0, end: layout.size });
    },
    state: () => ({
      name: settings.name,
      step,
      buffers: Object.fromEntries(rule.slots.map((slot, i) => [slot, buffers[i]!])),
    }),
    load(state) {
      if (state.name !== settings.name) {
        throw new RingtuneError(
          "checkpoint_invalid",
          `the checkpoint holds the state of optimizer ${state.name}, the config asks for ${settings.name}; ` +
            `set train.optimizer.name to ${state.name} or start without the optimizer state`,
          { details: { found: state.name, expected: settings.name } },
        );
      }
      for (const slot of rule.slots) {
        const length = state.buffers[slot]?.length ?? 0;
        if (length !== layout.size) {
          throw new RingtuneError(
            "checkpoint_invalid",
            `optimizer state ${slot} has ${length} elements, the model has ${layout.size}; ` +
              `the checkpoint belongs to another model`,
            { details: { slot, found: length, expected: layout.size } },
          );
        }
      }
      rule.slots.forEach((slot, i) => {
        if (state.buffers[slot] !== buffers[i]) buffers[i]!.set(state.buffers[slot]!);
      });
      step = state.step;
    },
  };
}

/**
 * The factor of torch.nn.utils.clip_grad_norm_: min(1, limit / (norm + 1e-6)), and 1 when `limit` is null.
 * Throws `not_finite` when the norm is infinite or not a number.
 */
export function clipFactor(norm: number, limit: number | null): number {
  if (!Number.isFinite(norm)) {
    throw new RingtuneError(
      "not_finite",
      `the gradient norm is ${norm}, so the weights were not updated; lower train.learning_rate or lengthen the warmup`,
      { details: { norm: String(norm) } },
    );
  }
  return limit === null ? 1 : Math.min(1, limit / (norm + 1e-6));
}

/** Contiguous runs of parameters that decay alike. */
function decayGroups(layout: ParameterLayout): { begin: number; end: number; decays: boolean }[] {
  const groups: { begin: number; end: number; decays: boolean }[] = [];
  for (const { shape, offset, size } of layout.specs) {
    const decays = shape.length >= 2;
    const last = groups.at(-1);
    if (last !== undefined && last.decays === decays && last.end === offset) last.end += size;
    else groups.push({ begin: offset, end: offset + size, decays });
  }
  return groups;
}
