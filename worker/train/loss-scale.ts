// Dynamic loss scaling for float16, as torch.amp.GradScaler has it: gradients are computed of the loss times a power of
// two, so that small ones are not rounded to 0; when they overflow the step is not applied and the scale is halved. Pure:
// every rank decides the same from the same reduced gradients. Powers of two scale and unscale without rounding.

export interface LossScale {
  readonly scale: number;
  /** Steps without an overflow since the scale last changed. */
  readonly goodSteps: number;
}

export const initialLossScale: LossScale = { scale: 2 ** 16, goodSteps: 0 };

/** Of float32 and bfloat16, whose range needs none. */
export const unscaled: LossScale = { scale: 1, goodSteps: 0 };

const growthInterval = 2000;
const largest = 2 ** 24;

/** A smaller scale would not help: what overflows here is too large by itself, and the run has to stop. */
export const smallestLossScale = 1;

/** The scale of the next step. */
export function nextLossScale({ scale, goodSteps }: LossScale, overflowed: boolean): LossScale {
  if (overflowed) return { scale: Math.max(scale / 2, smallestLossScale), goodSteps: 0 };
  if (goodSteps + 1 < growthInterval) return { scale, goodSteps: goodSteps + 1 };
  return { scale: Math.min(2 * scale, largest), goodSteps: 0 };
}
