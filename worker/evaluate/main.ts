// `ringtune evaluate`: how good a trained model is on data with labels: loss, metrics of every class, and which label is taken
// for which. Tables on a terminal, one JSON object elsewhere. Reads a run or a model directory, changes nothing.

import { Command, makeStrict, runProgram, wholeNumber } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { metricsOf, scoresOf, scoringOf, type Scoring } from "../../common/evaluation/scoring.ts";
import { ConfusionMatrix, confusionTable, metricLines, scoreTable } from "../evaluation/confusion.ts";
import { batchOf } from "../evaluation/encode.ts";
import { labelLosses, PredictionCounter } from "../evaluation/label-predictions.ts";
import { createExampleReader, targetsOf, type Example } from "../evaluation/examples.ts";
import { openClassifier, withModelOptions, type Classifier, type ModelOptions } from "../evaluation/open-classifier.ts";
import { readLines } from "../evaluation/read-lines.ts";

interface Options extends ModelOptions {
  readonly data: string;
  readonly textField?: string;
  readonly pairField?: string;
  readonly labelField?: string;
  readonly tokensField?: string;
  readonly tagsField?: string;
  readonly positiveLabel?: string;
  readonly batch: number;
  readonly json?: boolean;
}

const command = withModelOptions(new Command("ringtune evaluate"))
  .description("Measure a trained model on data with labels.")
  .requiredOption("--data <file>", "JSONL file: texts with labels, or words with tags; - is standard input")
  .option("--text-field <name>", "field of the text (default: the run's, else text)")
  .option("--pair-field <name>", "field of the second text of a pair (default: the run's, if it has one)")
  .option("--label-field <name>", "field of the label, or the list of them (default: the run's, else label)")
  .option("--tokens-field <name>", "field of the list of words (default: the run's, else tokens)")
  .option("--tags-field <name>", "field of the list of their tags (default: the run's, else tags)")
  .option(
    "--positive-label <name>",
    "of two labels, the one that precision, recall and F1 are of (default: the run's, else the last)",
  )
  .option("--batch <n>", "texts that are computed together", wholeNumber(1), 16)
  .option("--json", "print JSON on a terminal too")
  .action(run);

async function run(path: string, options: Options): Promise<void> {
  const classifier = await openClassifier(path, options);
  try {
    const scoring = scoringFor(classifier, options);
    const found = await measure(classifier, options);
    const { counts, confusion, loss, examples, cut } = found;
    const metrics = metricsOf(counts, scoring);
    const scores = scoresOf(counts);
    if (options.json === true || !process.stdout.isTTY) {
      const classes = Object.fromEntries(scoring.classes.map((name, i) => [name, scores[i]]));
      const matrix = confusion === undefined ? {} : { labels: classifier.labels, confusion: confusion.counts };
      process.stdout.write(`${JSON.stringify({ examples, truncated: cut, loss, ...metrics, classes, ...matrix })}\n`);
      return;
    }
    const blocks = [
      metricLines(loss, metrics),
      scoreTable(scores, scoring.classes),
      ...(confusion === undefined ? [] : [confusionTable(confusion.counts, classifier.labels)]),
    ];
    process.stdout.write(`${blocks.map((lines) => lines.join("\n")).join("\n\n")}\n`);
    const share = cut === 0 ? "" : `, of which ${cut} are longer than ${classifier.longest} tokens and were cut`;
    process.stdout.write(`\n${examples} examples${share}\n`);
  } finally {
    await classifier.engine.close();
  }
}

async function measure(classifier: Classifier, options: Options) {
  const { model, head, labels, tokenizer, engine } = classifier;
  const read = createExampleReader(classifier, options);
  const counter = new PredictionCounter(head, labels);
  const isMultiLabel = head.kind === "sequence-classification" && head.multiLabel;
  const confusion = isMultiLabel ? undefined : new ConfusionMatrix(labels.length);
  let [lossSum, targets, examples, cut] = [0, 0, 0, 0];
  let pending: Example[] = [];
  const flush = async (): Promise<void> => {
    if (pending.length === 0) return;
    const encoded = pending.map((example) => example.encoded);
    const batch = batchOf(model, tokenizer.padId, encoded, (length) => targetsOf(pending, length, head));
    pending = [];
    const logits = await engine.logits(batch);
    const loss = labelLosses(head, logits, batch);
    counter.add(logits, batch);
    confusion?.add(logits, batch.targets);
    lossSum += loss.lossSum;
    targets += loss.tokens;
    examples += batch.rows;
    cut += encoded.filter((one) => one.cut > 0).length;
  };
  for await (const line of readLines(options.data)) {
    pending.push(read(line));
    if (pending.length >= options.batch) await flush();
  }
  await flush();
  if (targets === 0)
    throw new RingtuneError("data_invalid", `${options.data}: ${examples} examples with 0 labels to compare with`);
  return { counts: counter.counts, confusion, loss: lossSum / targets, examples, cut };
}

function scoringFor({ head: { kind }, labels, model, config }: Classifier, { positiveLabel }: Options): Scoring {
  const task = config?.task;
  const named = positiveLabel ?? (task?.kind === "classification" ? task.positive_label : undefined);
  const multiLabel = "multiLabel" in model.head && model.head.multiLabel;
  const last = labels.length === 2 && kind === "sequence-classification" && !multiLabel ? 1 : null;
  const positive = named === undefined ? last : labels.indexOf(named);
  if (positive === -1) {
    throw new RingtuneError(
      "usage",
      `--positive-label ${named} is none of the ${labels.length} labels (${labels.join(", ")})`,
    );
  }
  const scoring = scoringOf({ head: kind, labels, multiLabel, positive });
  return scoring ?? { classes: labels, average: "macro" };
}

await runProgram("ringtune evaluate", async () => {
  await makeStrict(command).parseAsync();
});
