import { expect, test } from "vitest";
import type { StepRecord, ValidationRecord } from "../../common/records.ts";
import { describeDuration, describeQuantity, significant } from "../../coordinator/cli/quantities.ts";
import { createProgress, createRate, formatData, formatStep, formatValidation } from "../../coordinator/progress.ts";

function step(number: number, seconds = 0.5): StepRecord {
  return {
    kind: "step",
    step: number,
    epoch: 0.1,
    loss: 4.81204,
    learningRate: 9.61e-4,
    gradientNorm: 1.3204,
    samples: 16,
    tokens: 2032,
    seconds: { data: 0, compute: 0.4, allReduce: 0, commit: 0, total: seconds },
    allReduceBytes: 0,
    busBandwidth: 0,
    worldSize: 1,
    generation: 1,
    timeMs: 0,
  };
}

const validation: ValidationRecord = {
  kind: "validation",
  step: 20,
  loss: 4.7031,
  perplexity: Math.exp(4.7031),
  tokens: 13_200,
  seconds: 2.2,
  timeMs: 0,
};

function terminal(isTTY: boolean, columns?: number) {
  let output = "";
  const stream = { isTTY, write: (text: string) => (output += text), ...(columns === undefined ? {} : { columns }) };
  return { stream, output: () => output };
}

test("a step is one line with loss, learning rate, gradient norm, tokens per second and the time left", () => {
  expect(formatStep(step(20), { totalSteps: 300, secondsPerStep: 0.5 })).toBe(
    "step   20/300  loss 4.8120  lr 9.61e-4  grad 1.32    4.1k tokens/s  ETA 2m 20s",
  );
  expect(formatStep(step(300), { totalSteps: 300, secondsPerStep: 0.5 })).not.toContain("ETA");
  expect(formatStep(step(7, 0), { totalSteps: undefined, secondsPerStep: undefined })).toBe(
    "step  7  loss 4.8120  lr 9.61e-4  grad 1.32       0 tokens/s",
  );
  const skipped = formatStep({ ...step(20), gradientNorm: NaN, skipped: true }, { totalSteps: 20, secondsPerStep: 1 });
  expect(skipped).toMatch(/grad NaN .*  update skipped: fp16 overflow$/);
});

test("a validation is one line with loss and perplexity", () => {
  expect(formatValidation(validation, { totalSteps: 300 })).toBe(
    "valid  20/300  loss 4.7031  perplexity 110.3  (13.2k tokens in 2s)",
  );
});

test("a validation of a task with labels has its metrics in place of the perplexity", () => {
  const metrics = { accuracy: 0.98346, f1: 0.97, f1_macro: 0.9, f1_micro: 0.9, precision: 0.9714, recall: 1 };
  expect(formatValidation({ ...validation, metrics }, { totalSteps: 300 })).toBe(
    "valid  20/300  loss 4.7031  accuracy 0.9835  f1 0.9700  precision 0.9714  recall 1.0000  (13.2k targets in 2s)",
  );
});

test("piped output is plain lines without any control character, one a step", () => {
  const { stream, output } = terminal(false);
  const progress = createProgress({ stream, env: {} });
  progress.setTotalSteps(2);
  progress.data({ phase: "words", done: 5, total: 10, perSecond: 1 });
  progress.notice("2 workers");
  progress.record(step(1));
  progress.record(step(2));
  progress.record(validation);
  progress.checkpoint(2, "runs/a/checkpoints/step-00000002");
  progress.end();
  expect(
    output()
      .split("\n")
      .map((line) => line.split(" ")[0]),
  ).toEqual(["2", "step", "step", "valid", "saved", ""]);
  expect(output()).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
});

test("a terminal shows what is going on in a live line that never wraps and is always taken away", () => {
  const { stream, output } = terminal(true, 30);
  const progress = createProgress({ stream, env: { NO_COLOR: "1" } });
  progress.setTotalSteps(2);
  progress.data({ phase: "tokens", done: 5_000_000, total: 10_800_000, perSecond: 2e6 });
  expect(output()).toBe("making tokens: 5.0M of 10.8M ");
  progress.record(step(1));
  expect(output()).toContain("\r\u001b[2Kstep  1/2");
  expect(output().endsWith("step 2/2 ...")).toBe(true);
  progress.record(step(2));
  progress.end();
  expect(output().endsWith("\n")).toBe(true);
});

test("colours are for terminals, and not with NO_COLOR or on dumb ones", () => {
  const bold = (isTTY: boolean, env: NodeJS.ProcessEnv): boolean => {
    const { stream, output } = terminal(isTTY);
    createProgress({ stream, env }).record(step(1));
    return output().includes("\u001b[1m");
  };
  expect(bold(true, {})).toBe(true);
  expect(bold(true, { NO_COLOR: "1" })).toBe(false);
  expect(bold(true, { TERM: "dumb" })).toBe(false);
  expect(bold(false, {})).toBe(false);
});

test("sentences of the core that a line tells already are left out, unless asked for", () => {
  const { stream, output } = terminal(false);
  createProgress({ stream, env: {} }).decided("step 3 is committed: all 2 workers have reduced it; worker w1 left");
  expect(output()).toBe("worker w1 left\n");
  createProgress({ stream, env: {}, verbose: true }).decided("step 3 is committed: all 2 workers have reduced it");
  expect(output()).toContain("step 3 is committed");
  createProgress({ stream, env: {} }).decided("");
  expect(output().endsWith("reduced it\n")).toBe(true);
});

test("the rate starts with the first step and follows a change", () => {
  const rate = createRate();
  expect(rate.add(2)).toBe(2);
  expect(rate.add(4)).toBeCloseTo(3.03, 2);
  let last = 0;
  for (let i = 0; i < 200; i++) last = rate.add(10);
  expect(last).toBeCloseTo(10, 2);
});

test("numbers are written as people read them", () => {
  expect([0, 999, 1000, 18_432, 999_951, 3e9, NaN].map(describeQuantity)).toEqual([
    "0",
    "999",
    "1.0k",
    "18.4k",
    "1.0M",
    "3.0G",
    "NaN",
  ]);
  expect([0.04, 0.95, 9.4, 59.6, 151, 3599.7, 3840, 86_399, 90_000, 1e6, Infinity].map(describeDuration)).toEqual([
    "0.0s",
    "1s",
    "9s",
    "1m 00s",
    "2m 31s",
    "1h 00m",
    "1h 04m",
    "1d 00h",
    "1d 01h",
    "11d 14h",
    "?",
  ]);
  expect([0, 1.3204, 0.01234, 4120.7, 123_456, 1.23e-7, 5e9].map((value) => significant(value, 3))).toEqual([
    "0.00",
    "1.32",
    "0.0123",
    "4121",
    "123456",
    "1.2e-7",
    "5.0e+9",
  ]);
});

test("a download shows bytes, rate and the time left", () => {
  const state = { phase: "download", done: 120e6, total: 548.1e6, perSecond: 12.1e6 } as const;
  expect(formatData(state)).toBe("downloading: 120.0M of 548.1M bytes, 12.1M/s, ETA 35s");
  expect(formatData({ ...state, perSecond: 0 })).toBe("downloading: 120.0M of 548.1M bytes, 0/s");
});
