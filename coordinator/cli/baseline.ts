// `ringtune baseline`: what a bag of words does with the data of a classification, on the split that `ringtune train` would
// make of it. Seconds instead of minutes, and the number that the model has to beat.

import { collect, Command, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { MetricValues } from "../../common/evaluation/scoring.ts";
import type { LabelledText } from "../baseline/classifier.ts";
import { trainBaseline } from "../baseline/classifier.ts";
import { scoreBaseline } from "../baseline/score-baseline.ts";
import type { ClassificationExample } from "../data/classification.ts";
import { readExamples } from "../data/examples.ts";
import { createProgress } from "../progress.ts";

interface Options {
  readonly set: readonly string[];
  readonly words: number;
}

export function buildBaselineCommand(): Command {
  return new Command("baseline")
    .description(
      "train a bag-of-words classifier (tf-idf, logistic regression) on a configuration's data and split, and print its accuracy and F1",
    )
    .argument("<config>", "YAML file with task.kind: classification")
    .option("--set <path=value>", "change a setting, such as train.seed=1 (repeatable)", collect, [])
    .option(
      "--words <n>",
      "words to show that speak most for each label; they give away what leaks",
      wholeNumber(0),
      12,
    )
    .action(baseline);
}

async function baseline(path: string, { set, words }: Options): Promise<void> {
  const config = await loadConfig({ path, overrides: set });
  assertClassifies(config);
  const progress = createProgress({ stream: process.stdout });
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const { parts, task } = await readExamples(config, {
      onNotice: (line) => progress.notice(line),
      onProgress: (state) => progress.data(state),
      signal: stop.signal,
    });
    const textsOf = (examples: readonly unknown[]): LabelledText[] =>
      (examples as readonly ClassificationExample[]).map(({ text, pair, targets }) => ({
        text: pair === undefined ? text : `${text}\n${pair}`,
        labels: task.multiLabel ? targets.flatMap((value, label) => (value === 1 ? [label] : [])) : targets,
      }));
    const [train, validation] = [textsOf(parts.train), textsOf(parts.validation)];
    const startMs = performance.now();
    const model = trainBaseline(train, { ...task, seed: config.train.seed });
    const { metrics, mostFrequent } = scoreBaseline(model, validation, task);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    progress.end();
    const lines = [
      `baseline  ${describeMetrics(metrics)}  (${validation.length.toLocaleString("en-US")} targets; bag of ${model.vocabularySize.toLocaleString("en-US")} words, logistic regression with strength ${model.strength}, in ${seconds} s)`,
      ...(mostFrequent === undefined
        ? []
        : [`always "${mostFrequent.label}"  ${describeMetrics(mostFrequent.metrics)}`]),
      ...(words === 0
        ? []
        : task.labels.map((label, i) => `words for "${label}": ${model.tellingWords(i, words).join(", ")}`)),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  } finally {
    progress.end();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

function describeMetrics(metrics: MetricValues): string {
  return (["accuracy", "f1", "precision", "recall"] as const)
    .map((name) => `${name} ${metrics[name].toFixed(4)}`)
    .join("  ");
}

function assertClassifies({ task, data }: Config): void {
  if (task.kind !== "classification") {
    throw new RingtuneError(
      "config_invalid",
      `task.kind: ${task.kind} has no baseline; ringtune baseline classifies texts, so it needs task.kind: classification`,
    );
  }
  if (data.validation_fraction === 0) {
    throw new RingtuneError(
      "config_invalid",
      "data.validation_fraction: 0 keeps no texts to score the baseline with; use 0.2, say",
    );
  }
}
