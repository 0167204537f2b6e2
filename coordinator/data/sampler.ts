// The order in which samples are seen: an endless stream, the permutation of one epoch after the other's. Step s of a
// run with global batch G takes positions s*G to (s+1)*G - 1 of it, whoever computes them. Pure: a function of the seed.

import { assert } from "../../common/errors.ts";
import { createRandom, permutation } from "../../common/random.ts";

export interface SamplePosition {
  /** From 0. */
  readonly epoch: number;
  /** Of the sample in the dataset. */
  readonly index: number;
}

export interface Sampler {
  readonly sampleCount: number;
  sampleAt(position: number): SamplePosition;
}

/** Every sample occurs exactly once in each epoch. Holds the permutations of two epochs at most. */
export function createSampler({ sampleCount, seed }: { sampleCount: number; seed: number }): Sampler {
  assert(sampleCount >= 1, `a sampler has at least 1 sample, not ${sampleCount}`);
  const orders = new Map<number, Uint32Array>();
  const orderOf = (epoch: number): Uint32Array => {
    let order = orders.get(epoch);
    if (order === undefined) {
      const [oldest] = orders.keys();
      if (orders.size >= 2 && oldest !== undefined) orders.delete(oldest);
      orders.set(epoch, (order = permutation(sampleCount, createRandom(seed, `epoch ${epoch}`))));
    }
    return order;
  };
  return {
    sampleCount,
    sampleAt(position) {
      assert(Number.isSafeInteger(position) && position >= 0, `position ${position} is a whole number`);
      const epoch = Math.floor(position / sampleCount);
      const index = orderOf(epoch)[position - epoch * sampleCount] ?? 0;
      return { epoch, index };
    },
  };
}

/** At most `limit` numbers of 0..count-1, evenly spaced and in order: the same samples at every validation. */
export function evenlySpaced(count: number, limit: number): number[] {
  const taken = Math.min(count, limit);
  return Array.from({ length: taken }, (_, i) => Math.floor((i * count) / taken));
}
