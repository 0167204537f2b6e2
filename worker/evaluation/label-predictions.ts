// From the logits of a model that classifies or tags to what it says: probabilities, labels, losses, and the counts that
// metrics are made of. In double precision, on the few numbers that logits are; no engine is known here.

import type { PredictionCounts } from "../../common/evaluation/scoring.ts";
import { entitiesOf, entityTypes } from "../../common/evaluation/entities.ts";
import { assert } from "../../common/errors.ts";
import { sumLosses } from "../engine/batch.ts";
import type { LossResult, Microbatch } from "../engine/engine.ts";
import type { Head, Model } from "../model/model.ts";

const masked = -100;

export type LabelHead = Extract<Head, { labels: number }>;

/** The head of a model that classifies or tags; undefined for language models. */
export function labelHead({ head }: Model): LabelHead | undefined {
  return "labels" in head ? head : undefined;
}

/** The names of a model's labels, in order, as config.json has them; transformers calls nameless ones LABEL_0. */
export function labelsOf({ config }: Model, head: LabelHead): string[] {
  const names = config["id2label"] as Record<string, string> | undefined;
  return Array.from({ length: head.labels }, (_, i) => names?.[String(i)] ?? `LABEL_${i}`);
}

/** exp(z) / sum(exp(z)) of one row of logits. */
export function softmax(logits: Float32Array): number[] {
  const largest = logits.reduce((most, z) => Math.max(most, z), -Infinity);
  const powers = Array.from(logits, (z) => Math.exp(z - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** 1 / (1 + exp(-z)) of each. */
export function sigmoid(logits: Float32Array): number[] {
  return Array.from(logits, (z) => 1 / (1 + Math.exp(-z)));
}

/** The index of the largest; of equals the first. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/**
 * The losses of a batch from its logits [rows or tokens, labels]: the numbers of Model.losses, of one forward pass that
 * serves the predictions as well.
 */
export function labelLosses(head: LabelHead, logits: Float32Array, batch: Microbatch): LossResult {
  const { targets } = batch;
  const { labels } = head;
  const losses = new Float64Array(targets.length);
  const isMultiLabel = head.kind === "sequence-classification" && head.multiLabel;
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i]!;
    if (target === masked) continue;
    if (isMultiLabel) {
      const z = logits[i]!;
      losses[i] = Math.max(z, 0) - z * target + Math.log1p(Math.exp(-Math.abs(z)));
    } else {
      const row = logits.subarray(i * labels, (i + 1) * labels);
      const largest = row.reduce((most, z) => Math.max(most, z), -Infinity);
      const sum = row.reduce((total, z) => total + Math.exp(z - largest), 0);
      losses[i] = largest + Math.log(sum) - row[target]!;
    }
  }
  return sumLosses(losses, batch);
}

/** Counts the predictions of one batch after the other against their targets; see scoring.ts for what they mean. */
export class PredictionCounter {
  readonly #head: LabelHead;
  readonly #labels: readonly string[];
  /** Of taggers whose labels mark entities. */
  readonly #types: readonly string[] | undefined;
  readonly #truePositives: number[];
  readonly #falsePositives: number[];
  readonly #falseNegatives: number[];
  #correct = 0;
  #total = 0;

  constructor(head: LabelHead, labels: readonly string[]) {
    assert(labels.length === head.labels, `${labels.length} names for ${head.labels} labels`);
    this.#head = head;
    this.#labels = labels;
    this.#types = head.kind === "token-classification" ? entityTypes(labels) : undefined;
    const classes = (this.#types ?? labels).length;
    this.#truePositives = new Array<number>(classes).fill(0);
    this.#falsePositives = new Array<number>(classes).fill(0);
    this.#falseNegatives = new Array<number>(classes).fill(0);
  }

  get counts(): PredictionCounts {
    return {
      truePositives: [...this.#truePositives],
      falsePositives: [...this.#falsePositives],
      falseNegatives: [...this.#falseNegatives],
      correct: this.#correct,
      total: this.#total,
    };
  }

  /** Adds a batch with its logits [rows or tokens, labels]. Masked targets are left out, as if they were not there. */
  add(logits: Float32Array, { rows, targets }: Microbatch): void {
    const perRow = targets.length / rows;
    for (let row = 0; row < rows; row++) {
      const range = [row * perRow, (row + 1) * perRow] as const;
      const ofRow = targets.subarray(...range);
      if (this.#head.kind === "sequence-classification" && this.#head.multiLabel) {
        this.#addSet(logits.subarray(...range), ofRow);
      } else {
        const { labels } = this.#head;
        this.#addSequence(logits.subarray(range[0] * labels, range[1] * labels), ofRow);
      }
    }
  }

  /** Each label is there or not; the text is right when all are. */
  #addSet(logits: Float32Array, targets: Int32Array): void {
    let [known, right] = [0, 0];
    for (const [label, target] of targets.entries()) {
      if (target === masked) continue;
      const says = logits[label]! > 0 ? 1 : 0; // a probability above one half
      known++;
      if (says === target) right++;
      if (says === 1) this.#bump(target === 1 ? this.#truePositives : this.#falsePositives, label);
      else if (target === 1) this.#bump(this.#falseNegatives, label);
    }
    if (known === 0) return;
    this.#total++;
    if (known === right) this.#correct++;
  }

  /** One label for each target; a text's only one, or a sequence of them. */
  #addSequence(logits: Float32Array, targets: Int32Array): void {
    const { labels } = this.#head;
    const said: number[] = [];
    const meant: number[] = [];
    for (const [i, target] of targets.entries()) {
      if (target === masked) continue;
      said.push(argmax(logits.subarray(i * labels, (i + 1) * labels)));
      meant.push(target);
    }
    this.#total += meant.length;
    for (const [i, target] of meant.entries()) {
      if (said[i] === target) this.#correct++;
      if (this.#types !== undefined) continue;
      if (said[i] === target) this.#bump(this.#truePositives, target);
      else {
        this.#bump(this.#falsePositives, said[i]!);
        this.#bump(this.#falseNegatives, target);
      }
    }
    if (this.#types !== undefined) this.#addEntities(this.#types, said, meant);
  }

  #addEntities(types: readonly string[], said: readonly number[], meant: readonly number[]): void {
    const entities = (tags: readonly number[]) => entitiesOf(tags.map((tag) => this.#labels[tag]!));
    const keyOf = ({ type, start, end }: { type: string; start: number; end: number }) => `${start} ${end} ${type}`;
    const there = new Map(entities(meant).map((entity) => [keyOf(entity), entity.type]));
    for (const entity of entities(said)) {
      const isRight = there.delete(keyOf(entity));
      this.#bump(isRight ? this.#truePositives : this.#falsePositives, types.indexOf(entity.type));
    }
    for (const type of there.values()) this.#bump(this.#falseNegatives, types.indexOf(type));
  }

  #bump(counts: number[], index: number): void {
    counts[index] = (counts[index] ?? 0) + 1;
  }
}
