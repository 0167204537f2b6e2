import { expect, test } from "vitest";
import type { Effect } from "../../../coordinator/core/state.ts";
import { kinds, running } from "../../support/core-drive.ts";

test("a validation loss that is not a number ends the run with the step", () => {
  const run = running({ validationSequences: 4 });
  const value = { generation: 1, step: 0, lossSum: NaN, tokens: 3, notFiniteRows: [1], counts: null };
  run.post({ kind: "said", id: "w0", message: { kind: "evaluated", value } });
  const effects = run.post({ kind: "said", id: "w1", message: { kind: "evaluated", value } });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite" } });
  expect(run.reason).toContain("the validation after step 0 has loss NaN over 6 tokens, in 2 of 4 samples");
  expect(effects.at(-1)).toMatchObject({ outcome: { samples: { part: "validation", positions: [1, 3] } } });
});

test("a validation that is not finite ends the run when the checkpoint under way is written, and nothing is committed", () => {
  const run = running({ validationSequences: 4, evalEvery: 2, checkpointEvery: 1, writers: "one" });
  const evaluate = (id: string, lossSum: number): readonly Effect[] => {
    const { generation, committed: step } = run.state;
    const value = { generation, step, lossSum, tokens: 3, notFiniteRows: [], counts: null };
    return run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  for (const id of ["w0", "w1"]) evaluate(id, 6);
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
  evaluate("w0", NaN);
  expect(evaluate("w1", NaN)).toEqual([]);
  expect(run.reason).toMatch(
    /^the validation after step 2 has loss NaN over 6 tokens.*; the run ends when the checkpoint under way is written$/,
  );
  for (const id of ["w0", "w1"]) expect(run.reduced(id)).toEqual([]);
  expect(run.state.committed).toBe(2);
  expect(kinds(run.wrote("w0", 1))).toEqual(["publish"]);
  const effects = run.published(1);
  expect(kinds(effects)).toEqual(["discard", "finish", "finish", "ended"]);
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite", step: 2 } });
});

test("a validation of a task with labels sums the counts of all workers, and has metrics", () => {
  const run = running({ validationSequences: 4, scoring: { classes: ["ham", "spam"], average: 1 } });
  const evaluated = (id: string, truePositives: number[], falsePositives: number[], correct: number) => {
    const counts = { truePositives, falsePositives, falseNegatives: falsePositives.toReversed(), correct, total: 5 };
    const value = { generation: 1, step: 0, lossSum: 1, tokens: 5, notFiniteRows: [], counts };
    return run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  expect(evaluated("w0", [2, 2], [1, 0], 4)).toEqual([]);
  const [effect] = evaluated("w1", [2, 1], [1, 1], 3);
  // spam: 3 found, 1 wrongly, 2 missed.
  expect(effect).toMatchObject({
    kind: "record",
    record: { step: 0, loss: 0.2, metrics: { accuracy: 0.7, precision: 3 / 4, recall: 3 / 5, f1: 2 / 3 } },
  });
});

test("a stop drops the plans under way, saves what is committed and ends", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  run.applied("w1");
  expect(kinds(run.post({ kind: "stop", reason: "stopped by Ctrl-C" }))).toEqual(["form", "form"]);
  run.formed("w0");
  expect(run.formed("w1")).toMatchObject([{ kind: "save", to: "w0", step: 1, position: 8 }]);
  expect(kinds(run.wrote("w0", 1))).toEqual(["publish"]);
  expect(kinds(run.published(1))).toEqual(["finish", "finish", "ended"]);
});

test("a run that has seen enough commits no further step, waits for its checkpoint and is complete", () => {
  const earlyStopping = { metric: "loss" as const, patience: 1, minDelta: 0 };
  const run = running({ validationSequences: 4, evalEvery: 1, earlyStopping });
  const evaluate = (id: string, lossSum: number): readonly Effect[] => {
    const value = {
      generation: run.state.generation,
      step: run.state.committed,
      lossSum,
      tokens: 2,
      notFiniteRows: [],
      counts: null,
    };
    return run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  const finishStep = (loss: number): readonly Effect[] => {
    for (const id of ["w0", "w1"]) run.reduced(id);
    for (const id of ["w0", "w1"]) run.applied(id);
    return [...evaluate("w0", loss), ...evaluate("w1", loss)];
  };
  evaluate("w0", 9);
  evaluate("w1", 9);
  expect(kinds(finishStep(4))).toEqual(["record"]);
  expect(run.wrote("w0", 1)).toMatchObject([{ kind: "publish", step: 1, best: 1 }]);
  run.published(1);
  expect(kinds(finishStep(5))).toEqual(["record"]);
  expect(run.reason).toContain(
    "the validation loss has not become better for 1 validation (best 2.0000, after step 1)",
  );

  expect(run.reduced("w0")).toEqual([]);
  expect(run.reduced("w1")).toEqual([]);
  expect(run.state.committed).toBe(2);
  expect(run.wrote("w0", 2)).toMatchObject([{ kind: "publish", step: 2, best: 1 }]);
  const effects = run.published(2);
  expect(kinds(effects)).toEqual(["finish", "finish", "ended"]);
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "completed", step: 2, best: 1 } });
});

test("a worker that dies at the end of such a run costs nothing: its checkpoint is written by another", () => {
  const earlyStopping = { metric: "loss" as const, patience: 1, minDelta: 0 };
  const run = running({ validationSequences: 4, evalEvery: 1, earlyStopping });
  const everyone = (message: "evaluate" | "step", loss: number): void => {
    if (message === "step") for (const id of ["w0", "w1"]) run.reduced(id);
    if (message === "step") for (const id of ["w0", "w1"]) run.applied(id);
    const value = {
      generation: run.state.generation,
      step: run.state.committed,
      lossSum: loss,
      tokens: 2,
      notFiniteRows: [],
      counts: null,
    };
    for (const id of ["w0", "w1"]) run.post({ kind: "said", id, message: { kind: "evaluated", value } });
  };
  everyone("evaluate", 9);
  everyone("step", 4);
  run.wrote("w0", 1);
  run.published(1);
  everyone("step", 5);
  run.post({ kind: "left", id: "w0", reason: "its connection closed" });
  expect(run.formed("w1")).toMatchObject([{ kind: "save", to: "w1", step: 2 }]);
  run.wrote("w1", 2);
  const effects = run.published(2);
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "completed", step: 2, best: 1 } });
});
