// Which documents may be alike, without comparing each with each: MinHash (Broder, 1997) with banding (Indyk and Motwani,
// 1998). Proposes; the caller verifies.
//
// Under a random order of all shingles, two sets have the same first shingle with a probability that is their Jaccard
// similarity s. 192 such orders give a signature of 192 numbers, cut into bands of r rows:
//
//   signature of d   | 17 4 99 8 2 | 5 61 7 30 12 | ...     r = 5
//   signature of e   | 17 4 99 8 2 | 9 61 7 30 40 | ...     the first band is equal: d and e meet in its bucket
//
// They meet in one of b = 192 / r buckets with probability 1 - (1 - s^r)^b: nearly 1 above the threshold, small far below.
// Time and memory are O(documents * 192), whatever the documents are.

import { createRandom } from "../../../common/random.ts";

export const signatureLength = 192;
/** A pair that is just at the threshold may be overlooked once in a thousand times. */
const largestMiss = 1e-3;

/** Rows of a band: as many as the threshold (0 to 1) allows, because more rows bring fewer strangers together. */
export function rowsOfBand(threshold: number): number {
  const miss = (rows: number): number => (1 - threshold ** rows) ** Math.floor(signatureLength / rows);
  let rows = 1;
  while (rows < 16 && miss(rows + 1) <= largestMiss) rows++;
  return rows;
}

export interface Signer {
  /** Writes the signature of a set of shingles to `signature`, which has `signatureLength` places. */
  sign(shingles: Uint32Array, signature: Uint32Array): void;
}

/** Orders drawn from the seed: x -> a * x + b modulo 2^32, with a odd. */
export function createSigner(seed: number): Signer {
  const random = createRandom(seed, "minhash");
  const factors = Int32Array.from({ length: signatureLength }, () => random.integer(2 ** 31) * 2 + 1);
  const offsets = Int32Array.from({ length: signatureLength }, () => random.integer(2 ** 32));
  return {
    sign(shingles, signature) {
      signature.fill(0xffff_ffff);
      for (let i = 0; i < shingles.length; i++) {
        const shingle = shingles[i]!;
        for (let k = 0; k < signatureLength; k++) {
          const rank = (Math.imul(shingle, factors[k]!) + offsets[k]!) >>> 0;
          if (rank < signature[k]!) signature[k] = rank;
        }
      }
    },
  };
}

/** The documents that share a bucket of the band, a list for each bucket of two or more. `signatures` lie one after another. */
export function bucketsOfBand(signatures: Uint32Array, band: number, rows: number): number[][] {
  const firstOf = new Map<number, number>();
  const buckets = new Map<number, number[]>();
  const count = signatures.length / signatureLength;
  for (let document = 0; document < count; document++) {
    const from = document * signatureLength + band * rows;
    // Strangers with the same hash are told apart by the caller, like all others.
    let hash = 0;
    for (let i = from; i < from + rows; i++) hash = Math.imul(hash ^ signatures[i]!, 0x9e3779b1) ^ (hash >>> 15);
    const first = firstOf.get(hash);
    const bucket = buckets.get(hash);
    if (first === undefined) firstOf.set(hash, document);
    else if (bucket === undefined) buckets.set(hash, [first, document]);
    else bucket.push(document);
  }
  return [...buckets.values()];
}
