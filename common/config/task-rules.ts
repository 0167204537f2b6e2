// Combinations of a task with a model, data and labels that can't work; a part of rules.ts. What depends on files (the head
// of a model directory, labels that occur in the data) is checked where they are read.

import { modelClasses } from "../model-classes.ts";
import { hasLabels, headOf } from "../task.ts";
import type { Problem } from "./rules.ts";
import type { Config } from "./schema.ts";
import { architectureOf } from "./sizes.ts";

/** Special tokens of a tokenizer that is trained for an encoder: [PAD], [CLS], [SEP] and [MASK]. */
const smallestEncoderVocabulary = 260;

/** Every combination of a task with something else that can't work. */
export function taskRules({ task, model, data, tokenizer, train }: Config): Problem[] {
  const { kind } = task;
  const problems = labelRules(task);
  const refuse = (path: string, message: string, ...others: string[]): void => {
    problems.push({ path, message, involves: [path, "task.kind", ...others] });
  };
  const architecture = architectureOf({ task, model });
  const heads = Object.keys(modelClasses[architecture] ?? {});
  if (model.from === undefined && !heads.includes(headOf(kind))) {
    const fitting = headOf(kind) === "causal-lm" ? "gpt2 or llama" : "bert";
    const message = `${architecture} has no ${headOf(kind)} head, which task.kind ${kind} needs (it has ${heads.join(", ")}); use ${fitting}`;
    refuse("model.architecture", message);
  }
  if (task.kind === "classification" && task.multi_label && train.label_smoothing > 0) {
    const message = `${train.label_smoothing} spreads one answer over all labels, and with task.multi_label each label is yes or no; set it to 0`;
    refuse("train.label_smoothing", message, "task.multi_label");
  }
  const isSupervised = kind === "instruction" || hasLabels(task);
  const sources = typeof data.source === "string" ? [data.source] : data.source;
  if (isSupervised && sources.includes("sotu")) {
    refuse("data.source", `"sotu" is plain text, and task.kind ${kind} learns from JSONL lines; name .jsonl files`);
  }
  if (data.pair_field !== undefined && kind !== "classification") {
    const message = `${JSON.stringify(data.pair_field)} is for pairs of texts to classify, and task.kind is ${kind}; remove it`;
    refuse("data.pair_field", message);
  }
  if (data.format !== "auto" && kind !== "instruction") {
    refuse("data.format", `${data.format} is a form of instruction data, and task.kind is ${kind}; remove it`);
  }
  const trainsTokenizer = model.from === undefined && tokenizer.from === undefined;
  if (trainsTokenizer && headOf(kind) !== "causal-lm" && tokenizer.vocab_size < smallestEncoderVocabulary) {
    const message = `${tokenizer.vocab_size} is too small for an encoder: 256 bytes and the tokens [PAD], [CLS], [SEP] and [MASK] make ${smallestEncoderVocabulary}`;
    refuse("tokenizer.vocab_size", message);
  }
  return problems;
}

function labelRules(task: Config["task"]): Problem[] {
  if (!hasLabels(task)) return [];
  const problems: Problem[] = [];
  const refuse = (path: string, message: string, ...others: string[]): void => {
    problems.push({ path, message, involves: [path, ...others] });
  };
  const { labels, multiLabel, positive } = {
    labels: task.labels,
    multiLabel: task.kind === "classification" && task.multi_label,
    positive: task.kind === "classification" ? task.positive_label : undefined,
  };
  const twice = labels?.find((label, i) => labels.indexOf(label) !== i);
  if (labels !== undefined && twice !== undefined) {
    const [first, second] = [labels.indexOf(twice), labels.lastIndexOf(twice)];
    refuse("task.labels", `${JSON.stringify(twice)} is given twice, as labels ${first} and ${second}; remove one`);
  }
  if (labels?.length === 1 && !multiLabel) refuse("task.labels", "1 label leaves nothing to learn; give 2 or more");
  if (positive === undefined) return problems;
  const path = "task.positive_label";
  if (multiLabel) {
    const message = `${JSON.stringify(positive)} is of no use with task.multi_label, where each label is positive or not; remove it`;
    refuse(path, message, "task.multi_label");
  } else if (labels?.includes(positive) === false) {
    const message = `${JSON.stringify(positive)} is none of the ${labels.length} labels of task.labels (${labels.join(", ")})`;
    refuse(path, message, "task.labels");
  }
  return problems;
}
