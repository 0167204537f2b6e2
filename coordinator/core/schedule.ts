// The learning rate of every step: a pure function of the step's number, so that a resumed run needs no memory of it.
// The shapes are those of Hugging Face's get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup.

import type { Config } from "../../common/config/schema.ts";

export interface ScheduleOptions {
  readonly schedule: Config["train"]["schedule"];
  /** Learning rate at the end of the warmup. */
  readonly peak: number;
  /** Learning rate that the decay would reach at step `totalSteps`; not used by `constant`. */
  readonly min: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

/**
 * Learning rate of optimizer step `step`, counted from 0.
 *
 *     peak |      .-''-.          warmup:   peak * step / warmupSteps, so step 0 has rate 0
 *          |    .'      '.        constant: peak
 *          |  .'          '-.     linear:   min + (peak - min) * (1 - t)
 *      min |.'               '-   cosine:   min + (peak - min) * (1 + cos(pi t)) / 2
 *           0  warmup      total  where t = (step - warmupSteps) / (totalSteps - warmupSteps), at most 1
 */
export function learningRateAt(step: number, options: ScheduleOptions): number {
  const { schedule, peak, min, warmupSteps, totalSteps } = options;
  if (step < warmupSteps) return (peak * step) / warmupSteps;
  const decaySteps = Math.max(1, totalSteps - warmupSteps);
  const progress = Math.min(1, (step - warmupSteps) / decaySteps);
  switch (schedule) {
    case "constant":
      return peak;
    case "linear":
      return min + (peak - min) * (1 - progress);
    case "cosine":
      return min + (peak - min) * 0.5 * (1 + Math.cos(Math.PI * progress));
  }
}

/** Steps of warmup in a run of `totalSteps`: given, or a share of them rounded up as Hugging Face does, the last left out. */
export function warmupStepsOf(
  train: Pick<Config["train"], "warmup_steps" | "warmup_ratio">,
  totalSteps: number,
): number {
  if (train.warmup_ratio === undefined) return train.warmup_steps;
  return Math.max(0, Math.min(Math.ceil(train.warmup_ratio * totalSteps - 1e-9), totalSteps - 1));
}
