// When a run has seen enough: its validations have not become better for a while. And which of them was the best, whose
// weights are what the run is for. Pure; the result follows from the validations alone, so a resumed run decides the same.
//
//     patience 2, min_delta 0.1       loss     3.0   2.5   2.45   2.6      the reference is beaten by more than 0.1, or
//                                     since    0     0     1      2        `since` counts up to the patience
//                                     best     3.0   2.5   2.45   2.45     the best weights need no margin

import { isBetter, type StoppingMetric } from "../../common/evaluation/stopping-metrics.ts";
import type { ValidationRecord } from "../../common/records.ts";

export interface EarlyStopping {
  readonly metric: StoppingMetric;
  /** Validations without an improvement after which the run ends; at least 1. */
  readonly patience: number;
  /** What counts as an improvement: more than this, at least 0. */
  readonly minDelta: number;
}

export interface Best {
  /** Optimizer steps in the best weights. */
  readonly step: number;
  readonly value: number;
  /** What has to be beaten by more than the margin. */
  readonly reference: number;
  /** Validations since it was. */
  readonly since: number;
}

type Validation = Pick<ValidationRecord, "step" | "loss" | "perplexity" | "metrics">;

/** The best so far, after one more validation. That of step 0 does not count: its weights are nobody's result. */
export function observe(rule: EarlyStopping, best: Best | null, validation: Validation): Best | null {
  const { step } = validation;
  const { metric, minDelta } = rule;
  const value = valueOf(rule, validation);
  if (step === 0 || value === undefined) return best;
  if (best === null) return { step, value, reference: value, since: 0 };
  const leader = isBetter(metric, value, best.value) ? { step, value } : { step: best.step, value: best.value };
  const isImproved = isBetter(metric, value, best.reference) && Math.abs(best.reference - value) > minDelta;
  return isImproved
    ? { ...leader, reference: value, since: 0 }
    : { ...leader, reference: best.reference, since: best.since + 1 };
}

/** What the rule looks at. */
export function valueOf({ metric }: EarlyStopping, validation: Validation): number | undefined {
  return metric === "loss" || metric === "perplexity" ? validation[metric] : validation.metrics?.[metric];
}

/** The best of a run that goes on after these validations, in order. */
export function replay(rule: EarlyStopping, validations: readonly Validation[]): Best | null {
  return validations.reduce<Best | null>((best, validation) => observe(rule, best, validation), null);
}

/** Why the run ends now; undefined as long as it goes on. */
export function enough(rule: EarlyStopping, best: Best | null): string | undefined {
  if (best === null || best.since < rule.patience) return undefined;
  return describeBest(rule, best);
}

/** "the validation loss has not become better by more than 0.01 for 3 validations (best 3.2101, after step 60)" */
export function describeBest({ metric, minDelta }: EarlyStopping, { since, value, step }: Best): string {
  const margin = minDelta > 0 ? ` by more than ${minDelta}` : "";
  const count = `${since} validation${since === 1 ? "" : "s"}`;
  return `the validation ${metric} has not become better${margin} for ${count} (best ${value.toPrecision(5)}, after step ${step})`;
}
