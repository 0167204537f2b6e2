// A text as a bag of its words: how often each occurs, weighed by how few texts have it (tf-idf; Spärck Jones, 1972), as a
// sparse vector of length 1. Knows no order of words, which is what a language model has to beat.

import { normalise } from "../data/duplicates/shingles.ts";

/** A sparse vector; features ascend. */
export interface SparseVector {
  readonly features: Uint32Array;
  readonly values: Float64Array;
}

export interface BagOfWords {
  /** Words by feature. */
  readonly words: readonly string[];
  /** Words that the vocabulary lacks do not count; a text of such words alone is the zero vector. */
  vectorOf(text: string): SparseVector;
}

/** Words in fewer texts say nothing about others. */
const fewestTexts = 2;
const mostWords = 100_000;

/** The vocabulary is the words of the training texts that occur in two of them, the most frequent ones first. */
export function createBagOfWords(texts: Iterable<string>): BagOfWords {
  const textsWith = new Map<string, number>();
  let count = 0;
  for (const text of texts) {
    count++;
    for (const word of new Set(wordsOf(text))) textsWith.set(word, (textsWith.get(word) ?? 0) + 1);
  }
  const kept = [...textsWith]
    .filter(([, documents]) => documents >= fewestTexts)
    .sort(([a, inA], [b, inB]) => inB - inA || (a < b ? -1 : 1))
    .slice(0, mostWords);
  const featureOf = new Map(kept.map(([word], feature) => [word, feature]));
  // Smoothed as if one more text had every word: none weighs nothing.
  const weights = kept.map(([, documents]) => 1 + Math.log((1 + count) / (1 + documents)));
  return {
    words: kept.map(([word]) => word),
    vectorOf(text) {
      const counts = new Map<number, number>();
      for (const word of wordsOf(text)) {
        const feature = featureOf.get(word);
        if (feature !== undefined) counts.set(feature, (counts.get(feature) ?? 0) + 1);
      }
      const features = Uint32Array.from(counts.keys()).sort();
      const values = Float64Array.from(features, (feature) => {
        return (1 + Math.log(counts.get(feature) ?? 1)) * (weights[feature] ?? 0);
      });
      const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
      return { features, values: length === 0 ? values : values.map((value) => value / length) };
    },
  };
}

function wordsOf(text: string): string[] {
  return normalise(text).split(" ");
}
