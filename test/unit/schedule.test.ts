// The learning rate against closed forms and the rates that PyTorch's LambdaLR produced for the reference fixtures.

import { describe, expect, test } from "vitest";
import fc from "fast-check";
import { learningRateAt, warmupStepsOf, type ScheduleOptions } from "../../coordinator/core/schedule.ts";

const options = (changes: Partial<ScheduleOptions>): ScheduleOptions => ({
  schedule: "linear",
  peak: 1e-3,
  min: 0,
  warmupSteps: 10,
  totalSteps: 110,
  ...changes,
});

const schedules = ["constant", "linear", "cosine"] as const;

describe("the learning rate", () => {
  test("equals that of torch.optim.lr_scheduler with Hugging Face's linear schedule, 3 warmup steps of 8", () => {
    const expected = [0.0, 0.001666666667, 0.003333333333, 0.005, 0.004, 0.003, 0.002, 0.001];
    const schedule = options({ peak: 5e-3, warmupSteps: 3, totalSteps: 8 });
    for (const [step, rate] of expected.entries()) {
      expect(Math.abs(learningRateAt(step, schedule) - rate)).toBeLessThanOrEqual(1e-9 * rate);
    }
    expect(learningRateAt(8, schedule)).toBe(0);
  });

  test.each(schedules)("rises linearly from exactly 0 to the peak (%s)", (schedule) => {
    expect(learningRateAt(0, options({ schedule }))).toBe(0);
    expect(learningRateAt(5, options({ schedule }))).toBeCloseTo(5e-4, 15);
    expect(learningRateAt(10, options({ schedule }))).toBe(1e-3);
  });

  test.each(schedules)("starts at the peak without warmup (%s)", (schedule) => {
    expect(learningRateAt(0, options({ schedule, warmupSteps: 0 }))).toBe(1e-3);
  });

  test("stays at the peak when constant", () => {
    expect(learningRateAt(1_000_000, options({ schedule: "constant" }))).toBe(1e-3);
  });

  test("follows half a cosine between the peak and the minimum", () => {
    const cosine = options({ schedule: "cosine", min: 1e-4 });
    const at = (t: number): number => 1e-4 + (9e-4 * (1 + Math.cos(Math.PI * t))) / 2;
    expect(learningRateAt(10 + 25, cosine)).toBeCloseTo(1e-4 + 9e-4 * (0.5 + Math.SQRT1_2 / 2), 12);
    expect(learningRateAt(10 + 50, cosine)).toBeCloseTo(5.5e-4, 12);
    for (let step = 10; step <= 110; step++) {
      expect(learningRateAt(step, cosine)).toBeCloseTo(at((step - 10) / 100), 12);
    }
  });

  test("reaches the minimum at the total and stays there", () => {
    for (const schedule of ["linear", "cosine"] as const) {
      expect(learningRateAt(110, options({ schedule, min: 1e-5 }))).toBeCloseTo(1e-5, 18);
      expect(learningRateAt(5_000, options({ schedule, min: 1e-5 }))).toBeCloseTo(1e-5, 18);
      expect(learningRateAt(109, options({ schedule, min: 1e-5 }))).toBeGreaterThan(1e-5);
    }
  });

  test("is never negative, above the peak or not a number, however the steps are chosen", () => {
    const sizes = { step: fc.nat(300), warmupSteps: fc.nat(150), totalSteps: fc.integer({ min: 1, max: 200 }) };
    fc.assert(
      fc.property(fc.record({ ...sizes, schedule: fc.constantFrom(...schedules) }), ({ step, ...rest }) => {
        const rate = learningRateAt(step, options({ ...rest, min: 1e-4 }));
        expect(rate).toBeGreaterThanOrEqual(0);
        expect(rate).toBeLessThanOrEqual(1e-3 * (1 + 1e-12));
      }),
    );
  });
});

test("warmup is given in steps, or as a share of all steps that leaves at least one", () => {
  expect(warmupStepsOf({ warmup_steps: 7 }, 100)).toBe(7);
  expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0.1 }, 300)).toBe(30);
  expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0.1 }, 301)).toBe(31);
  expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0.99 }, 5)).toBe(4);
  expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0.5 }, 1)).toBe(0);
  expect(warmupStepsOf({ warmup_steps: 0, warmup_ratio: 0 }, 10)).toBe(0);
});
