// What is learned, as both sides need it: the head that a task of the configuration has, and its labels once they are
// known. How data becomes samples of a task is the coordinator's business, how a head computes the worker's.

import type { Config } from "./config/schema.ts";
import { RingtuneError } from "./errors.ts";
import type { HeadKind } from "./model-classes.ts";

export type TaskKind = Config["task"]["kind"];

/** A task whose labels are known; travels to the workers as `task_json`. */
export interface ResolvedTask {
  readonly kind: TaskKind;
  readonly head: HeadKind;
  /** Names by index; empty for tasks without labels. */
  readonly labels: readonly string[];
  /** Whether a text may have several labels; then each of its targets is 0 or 1, one for every label. */
  readonly multiLabel: boolean;
  /** Index of the label that precision, recall and F1 are of; null where there is no such label. */
  readonly positive: number | null;
}

const heads: Readonly<Record<TaskKind, HeadKind>> = {
  "language-modelling": "causal-lm",
  instruction: "causal-lm",
  classification: "sequence-classification",
  tagging: "token-classification",
  "masked-lm": "masked-lm",
};

/** The head of a model that learns `kind`. */
export function headOf(kind: TaskKind): HeadKind {
  return heads[kind];
}

export type LabelledTask = Extract<Config["task"], { kind: "classification" | "tagging" }>;

/** Whether the data of the task has labels, in a list that the model's config.json carries. */
export function hasLabels(task: Config["task"]): task is LabelledTask {
  return task.kind === "classification" || task.kind === "tagging";
}

/** Throws `config_invalid` when task.positive_label is none of `labels`, or when there are too few of them. */
export function resolveTask(task: Config["task"], labels: readonly string[]): ResolvedTask {
  const { kind } = task;
  const multiLabel = kind === "classification" && task.multi_label;
  if (hasLabels(task) && labels.length < (multiLabel ? 1 : 2)) {
    throw new RingtuneError(
      "config_invalid",
      `task.kind: ${kind} needs 2 or more labels, and there is ${labels.length} (${labels.join(", ")}); give data with others, or name them in task.labels`,
      { details: { labels: labels.length } },
    );
  }
  return { kind, head: headOf(kind), labels, multiLabel, positive: positiveOf(task, labels) };
}

function positiveOf(task: Config["task"], labels: readonly string[]): number | null {
  if (task.kind !== "classification" || task.multi_label) return null;
  if (task.positive_label === undefined) return labels.length === 2 ? 1 : null;
  const index = labels.indexOf(task.positive_label);
  if (index !== -1) return index;
  throw new RingtuneError(
    "config_invalid",
    `task.positive_label: ${JSON.stringify(task.positive_label)} is none of the ${labels.length} labels (${labels.join(", ")})`,
    { details: { labels: labels.length } },
  );
}
