import { describe, expect, test } from "vitest";
import { enough, observe, replay, type Best, type EarlyStopping } from "../../../coordinator/core/early-stopping.ts";

const rule: EarlyStopping = { metric: "loss", patience: 2, minDelta: 0 };

/** Validations after steps 10, 20, ... */
const validations = (...losses: number[]) =>
  losses.map((loss, i) => ({ step: 10 * (i + 1), loss, perplexity: Math.exp(loss) }));

/** The step after which a run with these losses ends. */
function endsAfter(given: EarlyStopping, ...losses: number[]): number | undefined {
  let best: Best | null = null;
  for (const validation of validations(...losses)) {
    best = observe(given, best, validation);
    if (enough(given, best) !== undefined) return validation.step;
  }
  return undefined;
}

describe("a run ends early", () => {
  test("when as many validations as its patience brought nothing better", () => {
    expect(endsAfter(rule, 3, 2, 2.1, 2.2)).toBe(40);
    expect(endsAfter(rule, 3, 2, 2.1, 1.9, 2, 2)).toBe(60);
    expect(endsAfter({ ...rule, patience: 1 }, 3, 3)).toBe(20);
    expect(endsAfter(rule, 5, 4, 3, 2, 1)).toBeUndefined();
  });

  test("not before as many validations as its patience have followed the first", () => {
    expect(endsAfter({ ...rule, patience: 3 }, 2, 3, 4)).toBeUndefined();
    expect(endsAfter({ ...rule, patience: 3 }, 2, 3, 4, 5)).toBe(40);
  });

  test("also while it creeps: less than the margin is no improvement, all of it together is", () => {
    expect(endsAfter({ ...rule, minDelta: 0.5 }, 3, 2.75, 2.5)).toBe(30);
    expect(endsAfter({ ...rule, minDelta: 0.5 }, 3, 2.75, 2.25, 2, 1.5)).toBeUndefined();
    expect(endsAfter({ ...rule, metric: "perplexity", minDelta: 1 }, 1, 0.9, 0.8)).toBe(30);
  });
});

describe("the best weights", () => {
  test("are those with the lowest metric, however small the margin; of equals the first", () => {
    expect(replay({ ...rule, minDelta: 1 }, validations(3, 2.9, 2.8, 2.8))).toMatchObject({
      step: 30,
      value: 2.8,
      since: 3,
    });
    expect(replay(rule, [])).toBeNull();
  });

  test("are never the untrained ones", () => {
    expect(observe(rule, null, { step: 0, loss: 0.1, perplexity: 1.1 })).toBeNull();
  });
});

test("the reason says the metric, the margin, the patience and the best", () => {
  const best = replay({ ...rule, minDelta: 0.01 }, validations(3.21009, 3.3, 3.4));
  expect(enough({ ...rule, minDelta: 0.01 }, best)).toBe(
    "the validation loss has not become better by more than 0.01 for 2 validations (best 3.2101, after step 10)",
  );
});

test("a share of what is right is better when it is higher, a loss when it is lower", () => {
  const of = (f1: number, step: number) => {
    const others = { accuracy: 0.5, f1_macro: 0.5, f1_micro: 0.5, precision: 0.5, recall: 0.5 };
    return { step, loss: 1, perplexity: Math.E, metrics: { ...others, f1 } };
  };
  const byF1: EarlyStopping = { metric: "f1", patience: 2, minDelta: 0.01 };
  const best = replay(byF1, [of(0.5, 10), of(0.8, 20), of(0.805, 30), of(0.7, 40)]);
  expect(best).toMatchObject({ step: 30, value: 0.805, reference: 0.8, since: 2 });
  expect(enough(byF1, best)).toBe(
    "the validation f1 has not become better by more than 0.01 for 2 validations (best 0.80500, after step 30)",
  );
  // Of a run that began before there were such metrics.
  expect(observe(byF1, best, { step: 50, loss: 1, perplexity: Math.E })).toBe(best);
});
