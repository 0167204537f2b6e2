import { expect, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { resolveTask } from "../../common/task.ts";

const taskOf = (task: object) => configSchema.parse({ task }).task;

test("a task without labels is resolved as it is", () => {
  expect(resolveTask(taskOf({}), [])).toEqual({
    kind: "language-modelling",
    head: "causal-lm",
    labels: [],
    multiLabel: false,
    positive: null,
  });
});

test("the positive label is the one that is named, else the last of two, else none", () => {
  const positive = (labels: string[], settings: object = {}) =>
    resolveTask(taskOf({ kind: "classification", ...settings }), labels).positive;
  expect(positive(["ham", "spam"])).toBe(1);
  expect(positive(["ham", "spam"], { positive_label: "ham" })).toBe(0);
  expect(positive(["a", "b", "c"])).toBeNull();
  expect(positive(["a", "b", "c"], { positive_label: "b" })).toBe(1);
  expect(positive(["a", "b"], { multi_label: true })).toBeNull();
  expect(resolveTask(taskOf({ kind: "tagging" }), ["a", "b"]).positive).toBeNull();
});

test("refuses a positive label that does not occur, and a single label", () => {
  const task = taskOf({ kind: "classification", positive_label: "spam" });
  expect(() => resolveTask(task, ["a", "b"])).toThrow('task.positive_label: "spam" is none of the 2 labels (a, b)');
  expect(() => resolveTask(taskOf({ kind: "tagging" }), ["O"])).toThrow(
    "tagging needs 2 or more labels, and there is 1 (O)",
  );
});
