import { expect, test } from "vitest";
import { describePositions } from "../../../coordinator/core/votes.ts";
import { besidesPlans, kinds, running } from "../../support/core-drive.ts";

test("does not commit gradients that differ between ranks: the step is computed again, a third time without the odd one", () => {
  const run = running();
  for (let time = 1; time <= 3; time++) {
    run.reduced("w0");
    const effects = run.reduced("w1", { digest: "nonsense" });
    expect(kinds(besidesPlans(effects))).toEqual(time < 3 ? ["form", "form"] : ["dismiss", "form"]);
    expect(run.reason).toMatch(/^step 1 is not committed: worker w1 .* digest nonsense; 1 of 2 workers have g; /);
    run.formed("w0");
    if (time < 3) run.formed("w1");
  }
  expect(run.reason).toMatch(/1 workers hold step 0$/);
  expect(kinds(run.reduced("w0"))).toContain("commit");
  expect(run.state.ledger.counts).toMatchObject({ committed: 8, lost: 0, duplicated: 0 });
});

test("does not commit a loss that is not a number, and names the step and the worker", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1", { lossSum: NaN });
  expect(run.reason).toMatch(/step 1 is not committed: worker w1 .*loss NaN over 2 tokens/);
  expect(run.state.phase).toBe("ended");
});

test("blames the rank whose own samples are not finite, although the sum is not finite on any", () => {
  const run = running();
  run.reduced("w0", { gradientNorm: NaN });
  const notFiniteTensors = [
    { name: "wte.weight", elements: 12, size: 40 },
    { name: "ln_f.bias", elements: 1, size: 4 },
  ];
  const vote = { lossSum: Infinity, gradientNorm: NaN, notFiniteRows: [1, 3, 99], notFiniteTensors };
  const effects = run.reduced("w1", vote);
  expect(run.reason).toMatch(
    /^step 1 is not committed: worker w1 \(rank 1, .*\) has loss Infinity over 2 tokens and gradient norm NaN \(NaN or infinite: 1 of 4 elements of ln_f\.bias and some of 1 other tensor\), from samples 5, 7 of the stream; lower train\.learning_rate or look at the data of this step$/,
  );
  const samples = { part: "training", positions: [5, 7] };
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite", step: 0, samples } });
  expect(kinds(effects)).not.toContain("commit");
});

test("says that the model has diverged when no sample of a step is finite, and names few of many", () => {
  const run = running();
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.reduced("w0", { lossSum: NaN, notFiniteRows: [0, 1, 2, 3] });
  const effects = run.reduced("w1", { lossSum: NaN, notFiniteRows: [0, 1, 2, 3] });
  expect(run.reason).toMatch(/step 2 .* and so have all 8 samples of the step: the model has diverged; lower/);
  const positions = [8, 9, 10, 11, 12, 13, 14, 15];
  expect(effects.at(-1)).toMatchObject({ outcome: { samples: { part: "training", positions } } });
  expect(describePositions([3])).toBe("sample 3 of the stream");
  expect(describePositions([...positions, 16, 17])).toBe(
    "samples 8, 9, 10, 11, 12, 13, 14, 15 and 2 more of the stream",
  );
});

test("a job that takes overflows into account commits the step and leaves its update out, if all ranks see the same", () => {
  const run = running({ skipsOverflow: true });
  run.reduced("w0", { gradientNorm: Infinity });
  expect(kinds(run.reduced("w1", { gradientNorm: Infinity }))).toEqual(["commit", "commit", "plan", "plan"]);
  run.applied("w0");
  expect(run.applied("w1")).toMatchObject([{ kind: "record", record: { step: 1, skipped: true } }]);
  run.reduced("w0");
  run.reduced("w1");
  run.applied("w0");
  const [effect] = run.applied("w1");
  expect(effect).not.toHaveProperty("record.skipped");
  run.reduced("w0", { gradientNorm: NaN });
  expect(run.reduced("w1", { digest: "other" }).at(-1)).toMatchObject({ outcome: { kind: "failed" } });
  expect(run.state.committed).toBe(2);
});

test.each([
  ["a loss is not finite", { lossSum: NaN }, "gradient norm Infinity, from samples"],
  ["a worker names rows, for which no scale is small enough", {}, "Infinity at the smallest loss scale, from samples"],
])("a job that takes overflows into account stops all the same when %s", (_, vote, sentence) => {
  const run = running({ skipsOverflow: true });
  run.reduced("w0", { gradientNorm: Infinity });
  const effects = run.reduced("w1", { ...vote, gradientNorm: Infinity, notFiniteRows: [0, 1] });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "not_finite", step: 0 } });
  expect(run.reason).toContain(sentence);
});

test("does not commit a step without a single target", () => {
  const run = running();
  run.reduced("w0", { lossSum: 0, tokens: 0 });
  run.reduced("w1", { lossSum: 0, tokens: 0 });
  expect(run.reason).toContain("no token to learn from in this step");
  expect(run.state.phase).toBe("ended");
});
