// `ringtune predict`: labels of texts, or tags of their words, from a trained model. On a terminal a line for people, else a
// JSON object a line and nothing besides. Reads a run or a model directory, changes nothing.

import { Command, makeStrict, runProgram, wholeNumber } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { classifyTexts, tagWords, type LabelAnswer, type TagAnswer } from "../evaluation/answers.ts";
import { wordsOf } from "../evaluation/encode.ts";
import { openClassifier, withModelOptions, type Classifier, type ModelOptions } from "../evaluation/open-classifier.ts";
import { readLines, textOf, wordsIn, type Line } from "../evaluation/read-lines.ts";

interface Options extends ModelOptions {
  readonly file?: string;
  readonly textField?: string;
  readonly pairField?: string;
  readonly tokensField?: string;
  readonly batch: number;
  readonly json?: boolean;
}

const command = withModelOptions(new Command("ringtune predict"))
  .description("Classify texts, or tag their words, with a trained model.")
  .argument("[texts...]", "the texts; left out, they are read from --file or standard input, one a line")
  .option("--file <path>", "file of texts, one a line, or of JSON objects (.jsonl); - is standard input")
  .option("--text-field <name>", "field of a JSON object that holds the text (default: the run's, else text)")
  .option("--pair-field <name>", "field with the second text of a pair (default: the run's, if it has one)")
  .option("--tokens-field <name>", "field with a list of words to tag (default: the run's, else tokens)")
  .option("--batch <n>", "texts that are computed together", wholeNumber(1), 16)
  .option("--json", "print JSON on a terminal too")
  .action(run);

async function run(path: string, texts: readonly string[], options: Options): Promise<void> {
  if (texts.length > 0 && options.file !== undefined) {
    throw new RingtuneError(
      "usage",
      `${texts.length} texts are given together with --file ${options.file}; give one of them`,
    );
  }
  const classifier = await openClassifier(path, options);
  try {
    const lines = texts.length > 0 ? given(texts) : readLines(options.file ?? "-");
    let pending: Line[] = [];
    let cut = 0;
    const flush = async (): Promise<void> => {
      const lines = pending;
      pending = [];
      if (lines.length > 0) cut += await answer(classifier, lines, options);
    };
    for await (const line of lines) {
      pending.push(line);
      if (pending.length >= options.batch) await flush();
    }
    await flush();
    if (cut > 0)
      say(`${cut} of the texts are longer than ${classifier.longest} tokens, and their ends were not looked at`);
  } finally {
    await classifier.engine.close();
  }
}

function* given(texts: readonly string[]): Generator<Line> {
  for (const [i, value] of texts.entries()) yield { where: `text ${i + 1}`, value };
}

/** Prints the answers to some lines; gives how many of them were cut. */
async function answer(classifier: Classifier, lines: readonly Line[], options: Options): Promise<number> {
  const data = classifier.config?.data;
  const textField = options.textField ?? data?.text_field ?? "text";
  const isJson = options.json === true || !process.stdout.isTTY;
  const print = (forPeople: string, value: object): void => {
    process.stdout.write(`${isJson ? JSON.stringify(value) : forPeople}\n`);
  };
  if (classifier.head.kind === "token-classification") {
    const tokensField = options.tokensField ?? data?.tokens_field ?? "tokens";
    const lists = lines.map((line) => wordsIn(line, tokensField) ?? wordsOf(textOf(line, textField)));
    const answers = await tagWords(classifier, lists);
    for (const [i, tagged] of answers.entries())
      print(showTags(lists[i] ?? [], tagged), tagsJson(lists[i] ?? [], tagged));
    return answers.filter(({ cut }) => cut > 0).length;
  }
  const pairField = options.pairField ?? data?.pair_field;
  const texts = lines.map((line) => ({
    text: textOf(line, textField),
    pair: pairField === undefined || typeof line.value === "string" ? undefined : textOf(line, pairField),
  }));
  const answers = await classifyTexts(classifier, texts);
  for (const [i, said] of answers.entries()) {
    const { text = "", pair } = texts[i] ?? {};
    print(showLabels(classifier, said, text), {
      text,
      ...(pair === undefined ? {} : { pair }),
      ...labelsJson(classifier, said),
    });
  }
  return answers.filter(({ cut }) => cut > 0).length;
}

function labelsJson({ labels, head }: Classifier, answer: LabelAnswer): object {
  const probabilities = Object.fromEntries(labels.map((label, i) => [label, rounded(answer.probabilities[i] ?? 0)]));
  if (head.kind === "sequence-classification" && head.multiLabel) return { labels: answer.labels, probabilities };
  const [label = ""] = answer.labels;
  return { label, probability: probabilities[label], probabilities };
}

function tagsJson(words: readonly string[], { tags, probabilities, entities }: TagAnswer): object {
  return {
    tokens: words,
    tags,
    probabilities: probabilities.map(rounded),
    entities: entities.map(({ type, start, end }) => ({ type, start, end, text: words.slice(start, end).join(" ") })),
  };
}

/** "spam  0.9812  Buy now: the beginning of the text" */
function showLabels({ labels }: Classifier, answer: LabelAnswer, text: string): string {
  const width = Math.max(...labels.map(({ length }) => length));
  const said = answer.labels.map((label) => {
    const probability = answer.probabilities[labels.indexOf(label)] ?? 0;
    return `${label.padEnd(answer.labels.length === 1 ? width : 0)}  ${probability.toFixed(4)}`;
  });
  const beginning = text.replaceAll(/\s+/g, " ").trim();
  const columns = process.stdout.columns || 80;
  const room = Math.max(20, columns - width - 10);
  return `${said.join(", ") || "none".padEnd(width + 8)}  ${beginning.slice(0, room)}`;
}

/** "Anna/B-PER lives/O in/O Oslo/B-LOC" */
function showTags(words: readonly string[], { tags }: TagAnswer): string {
  return words.map((word, i) => (tags[i] === undefined ? word : `${word}/${tags[i]}`)).join(" ");
}

function rounded(probability: number): number {
  return Number(probability.toPrecision(6));
}

function say(sentence: string): void {
  process.stderr.write(`ringtune predict: ${sentence}\n`);
}

await runProgram("ringtune predict", async () => {
  await makeStrict(command).parseAsync();
});
