// The baseline's predictions counted as a run's are (common/evaluation/scoring.ts), so that the two can be compared number
// by number.

import { metricsOf, scoringOf, type MetricValues, type PredictionCounts } from "../../common/evaluation/scoring.ts";
import type { ResolvedTask } from "../../common/task.ts";
import { assert } from "../../common/errors.ts";
import type { BaselineClassifier, LabelledText } from "./classifier.ts";

export interface BaselineScore {
  readonly metrics: MetricValues;
  /** Of the classifier that always answers with the most frequent label; undefined where texts have any number of labels. */
  readonly mostFrequent: { readonly label: string; readonly metrics: MetricValues } | undefined;
}

/** `texts` are those that validate; at least one. */
export function scoreBaseline(
  { predict }: Pick<BaselineClassifier, "predict">,
  texts: readonly LabelledText[],
  task: ResolvedTask,
): BaselineScore {
  const score = (answer: (text: string) => readonly number[]): MetricValues => {
    const scoring = scoringOf(task);
    assert(scoring !== undefined, `the task ${task.kind} has labels`);
    const zeros = (): number[] => task.labels.map(() => 0);
    const [truePositives, falsePositives, falseNegatives] = [zeros(), zeros(), zeros()];
    let correct = 0;
    for (const { text, labels } of texts) {
      const predicted = answer(text);
      for (const label of predicted) (labels.includes(label) ? truePositives : falsePositives)[label]!++;
      for (const label of labels) if (!predicted.includes(label)) falseNegatives[label]!++;
      if (predicted.length === labels.length && predicted.every((label) => labels.includes(label))) correct++;
    }
    const counts: PredictionCounts = {
      truePositives,
      falsePositives,
      falseNegatives,
      correct,
      total: texts.length,
    };
    return metricsOf(counts, scoring);
  };
  return { metrics: score(predict), mostFrequent: task.multiLabel ? undefined : mostFrequent(score, texts, task) };
}

function mostFrequent(
  score: (answer: () => readonly number[]) => MetricValues,
  texts: readonly LabelledText[],
  { labels }: ResolvedTask,
): BaselineScore["mostFrequent"] {
  const counts = labels.map((_, label) => texts.filter((text) => text.labels.includes(label)).length);
  const label = counts.indexOf(Math.max(...counts));
  return { label: labels[label]!, metrics: score(() => [label]) };
}
