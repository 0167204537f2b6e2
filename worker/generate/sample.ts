// The next token from the logits of the last one: temperature, then top-k, then top-p, in the order of Hugging Face's
// generate(). Pure: the random numbers are given.

import { RingtuneError } from "../../common/errors.ts";
import type { Random } from "../../common/random.ts";

export interface SamplingOptions {
  /** Logits are divided by it; 0 takes the most likely token always. */
  readonly temperature: number;
  /** Only the so many most likely tokens; 0 allows all. */
  readonly topK: number;
  /** Only the fewest most likely tokens whose probabilities sum to at least this (Holtzman et al., 2020); 1 allows all. */
  readonly topP: number;
}

/** Draws an index of `logits` [vocabulary]. Throws `not_finite` if a logit is NaN or infinite. */
export function sampleToken(logits: Float32Array, options: SamplingOptions, random: Random): number {
  const broken = logits.findIndex((logit) => !Number.isFinite(logit));
  if (broken !== -1) {
    throw new RingtuneError(
      "not_finite",
      `the model gives token ${broken} a logit of ${logits[broken]}; it has diverged`,
      {
        details: { token: broken },
      },
    );
  }
  const { temperature, topK, topP } = options;
  if (temperature === 0) return mostLikely(logits, 1)[0]!;
  const tokens = mostLikely(logits, topK === 0 ? logits.length : Math.min(topK, logits.length));
  const highest = logits[tokens[0]!]!;
  const weights = tokens.map((token) => Math.exp((logits[token]! - highest) / temperature));
  const count = topP < 1 ? nucleusSize(weights, topP) : weights.length;
  const kept = weights.slice(0, count);
  let left = random.next() * kept.reduce((sum, weight) => sum + weight, 0);
  for (const [i, weight] of kept.entries()) {
    left -= weight;
    if (left < 0) return tokens[i]!;
  }
  return tokens[0]!; // rounding left a remainder: a draw of the last 1e-16
}

/** The `count` indices with the largest logits, largest first; of equals the smaller index. */
function mostLikely(logits: Float32Array, count: number): number[] {
  const threshold = count < logits.length ? logits.slice().sort()[logits.length - count]! : -Infinity;
  const tokens: number[] = [];
  for (let token = 0; token < logits.length; token++) if (logits[token]! >= threshold) tokens.push(token);
  return tokens.sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, count);
}

/** How many of the descending `weights` make up at least `share` of their sum. */
function nucleusSize(weights: readonly number[], share: number): number {
  const enough = share * weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  for (const [i, weight] of weights.entries()) {
    sum += weight;
    if (sum >= enough) return i + 1;
  }
  return weights.length;
}
