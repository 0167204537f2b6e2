// Counts and metrics against numbers that test/golden/make_metrics.py computed in another way (1e-12 relative), and
// entities against what seqeval says of hand-written sequences.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { entitiesOf, entityTypes } from "../../../common/evaluation/entities.ts";
import { metricsOf, scoringOf, sumCounts, type LabelledTask } from "../../../common/evaluation/scoring.ts";
import type { Microbatch } from "../../../worker/engine/engine.ts";
import {
  labelLosses,
  PredictionCounter,
  sigmoid,
  softmax,
  type LabelHead,
} from "../../../worker/evaluation/label-predictions.ts";

interface Case extends LabelledTask {
  readonly rows: number;
  readonly length: number;
  readonly logits: number[];
  readonly targets: number[];
  readonly loss: number;
  readonly metrics: Record<string, number>;
}

const golden = JSON.parse(readFileSync(new URL("../../golden/metrics.json", import.meta.url), "utf8")) as Record<
  string,
  Case
>;

function headOf({ head: kind, labels, multiLabel }: Case): LabelHead {
  return kind === "token-classification"
    ? { kind, labels: labels.length }
    : { kind: "sequence-classification", labels: labels.length, multiLabel };
}

/** Rows `from` to `to` of a case, as a worker gets them. */
function part(given: Case, from: number, to: number): { batch: Microbatch; logits: Float32Array } {
  const [perTarget, perLogit] = [given.targets.length / given.rows, given.logits.length / given.rows];
  const rows = to - from;
  const inputIds = new Int32Array(rows * given.length);
  const targets = Int32Array.from(given.targets.slice(from * perTarget, to * perTarget));
  const logits = Float32Array.from(given.logits.slice(from * perLogit, to * perLogit));
  return { batch: { rows, length: given.length, inputIds, targets }, logits };
}

describe.each(Object.entries(golden))("%s", (_, given) => {
  test("has the reference metrics and loss, however its rows are divided over workers", () => {
    const scoring = scoringOf(given)!;
    const head = headOf(given);
    for (const cuts of [
      [0, given.rows],
      [0, 1, 5, given.rows],
    ]) {
      let loss = 0;
      const counts = cuts.slice(1).map((to, i) => {
        const counter = new PredictionCounter(head, given.labels);
        const { batch, logits } = part(given, cuts[i]!, to);
        counter.add(logits, batch);
        loss += labelLosses(head, logits, batch).lossSum;
        return counter.counts;
      });
      const metrics = metricsOf(sumCounts(counts, scoring), scoring);
      for (const [name, expected] of Object.entries(given.metrics)) {
        expect(metrics[name as keyof typeof metrics], name).toBeCloseTo(expected, 12);
      }
      // Logits of one decimal are not exact in float32.
      expect(Math.abs(loss / given.loss - 1)).toBeLessThan(1e-6);
    }
  });
});

test("0 / 0 is 0: nothing predicted, nothing there, nothing at all", () => {
  const scoring = { classes: ["a", "b"], average: 1 };
  const none = { truePositives: [0, 0], falsePositives: [0, 0], falseNegatives: [0, 0], correct: 0, total: 0 };
  const zeros = { accuracy: 0, f1: 0, f1_macro: 0, f1_micro: 0, precision: 0, recall: 0 };
  expect(metricsOf(none, scoring)).toEqual(zeros);
  // All are of the first class, and found: the positive one has neither truth nor prediction.
  const allNegative = { ...none, truePositives: [7, 0], correct: 7, total: 7 };
  expect(metricsOf(allNegative, scoring)).toEqual({ ...zeros, accuracy: 1, f1_macro: 0.5, f1_micro: 1 });
});

test("by hand: 3 spam found, 1 missed, 2 ham taken for spam, 4 left alone", () => {
  const counts = { truePositives: [4, 3], falsePositives: [1, 2], falseNegatives: [2, 1], correct: 7, total: 10 };
  const metrics = metricsOf(counts, { classes: ["ham", "spam"], average: 1 });
  expect(metrics).toMatchObject({ accuracy: 0.7, precision: 3 / 5, recall: 3 / 4, f1: 6 / 9, f1_micro: 0.7 });
  expect(metrics.f1_macro).toBeCloseTo((8 / 11 + 6 / 9) / 2, 15);
});

test("a language model has no such metrics", () => {
  expect(scoringOf({ head: "causal-lm", labels: [], multiLabel: false, positive: null })).toBeUndefined();
});

describe("entities", () => {
  const read = (tags: string): string[] =>
    entitiesOf(tags.split(" ")).map(({ type, start, end }) => `${type} ${start}-${end}`);

  test("are what seqeval's get_entities finds, wrong sequences included", () => {
    expect(read("B-PER I-PER O B-LOC")).toEqual(["PER 0-2", "LOC 3-4"]);
    expect(read("I-PER I-PER O")).toEqual(["PER 0-2"]);
    expect(read("B-PER B-PER I-PER")).toEqual(["PER 0-1", "PER 1-3"]);
    expect(read("B-PER I-LOC I-LOC")).toEqual(["PER 0-1", "LOC 1-3"]);
    expect(read("B-PER E-PER S-LOC E-LOC I-LOC")).toEqual(["PER 0-2", "LOC 2-3", "LOC 3-4", "LOC 4-5"]);
    expect(read("O O")).toEqual([]);
  });

  test("are marked by labels of the form B-X, and by no others", () => {
    expect(entityTypes(["O", "B-PER", "I-PER", "B-LOC"])).toEqual(["PER", "LOC"]);
    expect(entityTypes(["NOUN", "VERB"])).toBeUndefined();
    expect(entityTypes(["O", "PER"])).toBeUndefined();
    expect(entityTypes(["O"])).toBeUndefined();
  });
});

test("probabilities sum to 1, or stand for themselves, also of large logits", () => {
  expect(softmax(Float32Array.of(1000, 1000))).toEqual([0.5, 0.5]);
  expect(softmax(Float32Array.of(0, Math.log(3)))[1]).toBeCloseTo(0.75, 7);
  expect(sigmoid(Float32Array.of(-1000, 0, 1000))).toEqual([0, 0.5, 1]);
});
