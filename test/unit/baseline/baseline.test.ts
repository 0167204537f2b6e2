import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createBagOfWords, type SparseVector } from "../../../coordinator/baseline/bag-of-words.ts";
import { trainBaseline, type LabelledText } from "../../../coordinator/baseline/classifier.ts";
import { fitLogisticRegression } from "../../../coordinator/baseline/logistic-regression.ts";
import { scoreBaseline } from "../../../coordinator/baseline/score-baseline.ts";

test("weighs the words of a text by how few texts have them", () => {
  const bag = createBagOfWords(["Buy, buy the house", "the house", "the cat"]);
  expect(bag.words).toEqual(["the", "house"]);
  const { features, values } = bag.vectorOf("THE house? the dog");
  const [the, house] = [(1 + Math.log(2)) * (1 + Math.log(4 / 4)), 1 + Math.log(4 / 3)];
  const length = Math.hypot(the, house);
  expect([...features]).toEqual([0, 1]);
  expect(values[0]).toBeCloseTo(the / length, 12);
  expect(values[1]).toBeCloseTo(house / length, 12);
  expect([...bag.vectorOf("nothing known").features]).toEqual([]);
});

test.each([0.1, 1, 10])("fits where the gradient of the objective is zero, at strength %d", (strength) => {
  const random = createRandom(5, "vectors");
  const featureCount = 12;
  const vectors: SparseVector[] = Array.from({ length: 60 }, () => {
    const features = Uint32Array.from({ length: featureCount }, (_, i) => i).filter(() => random.next() < 0.4);
    return { features, values: Float64Array.from(features, () => random.normal()) };
  });
  const isPositive = vectors.map(() => random.next() < 0.3);
  const { score, weights } = fitLogisticRegression(vectors, isPositive, { featureCount, seed: 1, strength });
  const bias = score({ features: new Uint32Array(), values: new Float64Array() });
  // d/dw of |w|^2/2 + C sum log(1 + exp(-y w.x)), and the same for the bias.
  const gradient = [...weights, bias];
  vectors.forEach((vector, i) => {
    const sign = isPositive[i] ? 1 : -1;
    const pull = (-sign * strength) / (1 + Math.exp(sign * score(vector)));
    vector.features.forEach((feature, k) => (gradient[feature]! += pull * vector.values[k]!));
    gradient[featureCount]! += pull;
  });
  expect(Math.max(...gradient.map(Math.abs)) / (strength * vectors.length)).toBeLessThan(2e-3);
});

const words = ["red", "round", "sweet", "sour", "green", "long"];
function fruits(count: number, seed: number, labelOf: (drawn: string[]) => number[]): LabelledText[] {
  const random = createRandom(seed, "fruits");
  return Array.from({ length: count }, () => {
    const drawn = Array.from({ length: 4 }, () => words[random.integer(words.length)] ?? "red");
    return { text: `a ${drawn.join(" ")} thing`, labels: labelOf(drawn) };
  });
}

test("learns two labels, and says which words tell them", () => {
  const labelOf = (drawn: string[]): number[] => [drawn.includes("sour") ? 1 : 0];
  const options = { labels: ["no", "yes"], multiLabel: false, seed: 1 };
  const model = trainBaseline(fruits(300, 1, labelOf), options);
  const task = {
    kind: "classification",
    head: "sequence-classification",
    labels: options.labels,
    multiLabel: false,
    positive: 1,
  } as const;
  const held = fruits(200, 2, labelOf);
  const { metrics, mostFrequent } = scoreBaseline(model, held, task);
  expect(metrics.accuracy).toBeGreaterThan(0.99);
  expect(metrics.f1).toBeGreaterThan(0.99);
  const share = held.filter(({ labels }) => labels.includes(0)).length / held.length;
  expect(mostFrequent?.label).toBe(share >= 0.5 ? "no" : "yes");
  expect(mostFrequent?.metrics.accuracy).toBe(Math.max(share, 1 - share));
  expect(model.tellingWords(1, 1)).toEqual(["sour"]);
  expect(trainBaseline(fruits(300, 1, labelOf), options).predict("a sour thing")).toEqual([1]);
});

test("learns one of several labels, and several at once", () => {
  const first = (drawn: string[]): number[] => [
    Math.max(
      0,
      ["red", "green", "long"].findIndex((w) => drawn.includes(w)),
    ),
  ];
  const three = trainBaseline(fruits(400, 3, first), { labels: ["a", "b", "c"], multiLabel: false, seed: 1 });
  const held = fruits(200, 4, first);
  const right = held.filter(({ text, labels }) => three.predict(text)[0] === labels[0]).length;
  expect(right / held.length).toBeGreaterThan(0.85);

  const all = (drawn: string[]): number[] => ["sour", "long"].flatMap((word, i) => (drawn.includes(word) ? [i] : []));
  const many = trainBaseline(fruits(400, 5, all), { labels: ["sour", "long"], multiLabel: true, seed: 1 });
  expect(many.predict("a sour long red thing")).toEqual([0, 1]);
  expect(many.predict("a red round red thing")).toEqual([]);
});
