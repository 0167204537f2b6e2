// What a bag of words can do: the plain classifier beside which a language model must show what it is worth, and with which
// data is looked at before anything is trained. Logistic regression on tf-idf, one for each label. Text in, labels out; no
// files, no configuration.

import { createRandom, permutation } from "../../common/random.ts";
import { createBagOfWords, type SparseVector } from "./bag-of-words.ts";
import { fitLogisticRegression, type LogisticRegression } from "./logistic-regression.ts";

export interface LabelledText {
  readonly text: string;
  /** Indices of its labels; exactly one unless texts have any number of them. */
  readonly labels: readonly number[];
}

export interface BaselineOptions {
  readonly labels: readonly string[];
  readonly multiLabel: boolean;
  readonly seed: number;
}

export interface BaselineClassifier {
  readonly predict: (text: string) => number[];
  /** Words of the vocabulary. */
  readonly vocabularySize: number;
  /** See LogisticRegression: chosen of `strengths` by texts that were kept back for it. */
  readonly strength: number;
  /** The words that speak most for a label, the strongest first. */
  tellingWords(label: number, count: number): string[];
}

const strengths = [1, 10, 100] as const;
/** Share of the training texts that chooses the strength; then all of them train. */
const choosingShare = 0.2;

/** Equal texts and seed give an equal classifier. Deterministic, in memory, O(words) a pass. */
export function trainBaseline(texts: readonly LabelledText[], options: BaselineOptions): BaselineClassifier {
  const bag = createBagOfWords(texts.map(({ text }) => text));
  const vectors = texts.map(({ text }) => bag.vectorOf(text));
  const fit = (chosen: readonly number[], strength: number): LogisticRegression[] =>
    // Of two labels, one is the other's opposite.
    (isBinary(options) ? [1] : options.labels.map((_, label) => label)).map((label) =>
      fitLogisticRegression(
        chosen.map((i) => vectors[i]!),
        chosen.map((i) => texts[i]!.labels.includes(label)),
        { featureCount: bag.words.length, seed: options.seed, strength },
      ),
    );

  const order = [...permutation(texts.length, createRandom(options.seed, "baseline"))];
  const heldCount = Math.floor(texts.length * choosingShare);
  const [held, rest] = [order.slice(0, heldCount), order.slice(heldCount)];
  const rightWith = strengths.map((strength) => {
    const models = fit(rest, strength);
    return held.filter((i) => sameLabels(decide(models, vectors[i]!, options), texts[i]!.labels)).length;
  });
  const strength = strengths[rightWith.indexOf(Math.max(...rightWith))] ?? strengths[0];
  const models = fit(order, strength);
  return {
    predict: (text) => decide(models, bag.vectorOf(text), options),
    vocabularySize: bag.words.length,
    strength,
    tellingWords(label, count) {
      const sign = isBinary(options) && label === 0 ? -1 : 1;
      const { weights } = models[isBinary(options) ? 0 : label]!;
      return [...weights.keys()]
        .sort((a, b) => sign * (weights[b]! - weights[a]!))
        .slice(0, count)
        .map((feature) => bag.words[feature]!);
    },
  };
}

function isBinary({ labels, multiLabel }: BaselineOptions): boolean {
  return labels.length === 2 && !multiLabel;
}

function decide(models: readonly LogisticRegression[], vector: SparseVector, options: BaselineOptions): number[] {
  const scores = models.map((model) => model.score(vector));
  if (options.multiLabel) return scores.flatMap((score, label) => (score > 0 ? [label] : []));
  if (isBinary(options)) return [scores[0]! > 0 ? 1 : 0];
  return [scores.indexOf(Math.max(...scores))];
}

function sameLabels(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((label) => b.includes(label));
}
