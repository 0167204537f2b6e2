// How good predictions are, from counts that add up: accuracy, precision, recall and F1. Counts are whole numbers, so the
// sum over workers is exact, whoever computed what. Pure; what counts as a class is decided by `scoringOf`.
//
// Of a class with tp, fp and fn (predicted and right, predicted and wrong, not predicted but there):
//
//     precision = tp / (tp + fp)      recall = tp / (tp + fn)      F1 = 2 tp / (2 tp + fp + fn)      0 / 0 is 0
//
// macro is the mean over all classes, also those that occur nowhere, as scikit-learn's with all labels given and
// zero_division=0; micro is that of the summed counts.

import type { HeadKind } from "../model-classes.ts";
import { entityTypes } from "./entities.ts";

/** Metrics of tasks with labels, in the order in which they are shown. All are from 0 to 1, higher is better. */
export const labelMetrics = ["accuracy", "f1", "f1_macro", "f1_micro", "precision", "recall"] as const;

export type LabelMetric = (typeof labelMetrics)[number];
export type MetricValues = Readonly<Record<LabelMetric, number>>;

/** Of a set of predictions; the lists have an element for each class. */
export interface PredictionCounts {
  truePositives: number[];
  falsePositives: number[];
  falseNegatives: number[];
  /** Texts whose every label is right; of taggers, tokens. */
  correct: number;
  total: number;
}

/** What is counted, and what `f1`, `precision` and `recall` are of. */
export interface Scoring {
  /** Labels; types of entity where labels mark those. */
  readonly classes: readonly string[];
  /** The index of one class, or the kind of mean over all. */
  readonly average: number | "macro" | "micro";
}

/** What is known of a task; see ResolvedTask in common/task.ts. */
export interface LabelledTask {
  readonly head: HeadKind;
  readonly labels: readonly string[];
  readonly multiLabel: boolean;
  /** Index of the label that `f1` is of; null where it is of all. */
  readonly positive: number | null;
}

/** Undefined for language models. Entities are scored as seqeval does: micro. */
export function scoringOf({ head, labels, positive }: LabelledTask): Scoring | undefined {
  if (head !== "sequence-classification" && head !== "token-classification") return undefined;
  const types = head === "token-classification" ? entityTypes(labels) : undefined;
  if (types !== undefined) return { classes: types, average: "micro" };
  return { classes: labels, average: positive ?? "macro" };
}

/** The sum, of as many classes as there are. */
export function sumCounts(counts: readonly PredictionCounts[], { classes }: Scoring): PredictionCounts {
  const sumOf = (list: "truePositives" | "falsePositives" | "falseNegatives"): number[] =>
    classes.map((_, i) => counts.reduce((sum, count) => sum + (count[list][i] ?? 0), 0));
  return {
    truePositives: sumOf("truePositives"),
    falsePositives: sumOf("falsePositives"),
    falseNegatives: sumOf("falseNegatives"),
    correct: counts.reduce((sum, { correct }) => sum + correct, 0),
    total: counts.reduce((sum, { total }) => sum + total, 0),
  };
}

export interface ClassScore {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** How often the class occurs. */
  readonly support: number;
}

/** Of every class. */
export function scoresOf({ truePositives, falsePositives, falseNegatives }: PredictionCounts): ClassScore[] {
  return truePositives.map((tp, i) => scoreOf(tp, falsePositives[i] ?? 0, falseNegatives[i] ?? 0));
}

export function metricsOf(counts: PredictionCounts, { average }: Scoring): MetricValues {
  const scores = scoresOf(counts);
  const macro = meanOf(scores);
  const micro = scoreOf(total(counts.truePositives), total(counts.falsePositives), total(counts.falseNegatives));
  const chosen = average === "macro" ? macro : average === "micro" ? micro : (scores[average] ?? macro);
  return {
    accuracy: ratio(counts.correct, counts.total),
    f1: chosen.f1,
    f1_macro: macro.f1,
    f1_micro: micro.f1,
    precision: chosen.precision,
    recall: chosen.recall,
  };
}

function scoreOf(tp: number, fp: number, fn: number): ClassScore {
  return {
    precision: ratio(tp, tp + fp),
    recall: ratio(tp, tp + fn),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
    support: tp + fn,
  };
}

function meanOf(scores: readonly ClassScore[]): ClassScore {
  const mean = (part: keyof ClassScore): number => ratio(total(scores.map((score) => score[part])), scores.length);
  return { precision: mean("precision"), recall: mean("recall"), f1: mean("f1"), support: mean("support") };
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
