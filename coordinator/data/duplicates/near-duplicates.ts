// Groups of documents that say the same: copies, forwards, the mail of the day with another name in it. A group must not
// be divided by the split, or validation measures what was learned by heart. Finds groups; what is done with them is the
// caller's.
//
//   documents -> normalised text -> equal hash: one group            exact duplicates
//             -> shingles -> signature -> buckets -> Jaccard >= t    near duplicates, verified
//             -> connected components (union-find)
//
// Time is O(text) + O(documents * 192), memory 4 bytes a word and 768 bytes a document.

import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createReporter, type ProgressOptions } from "../progress.ts";
import { bucketsOfBand, createSigner, rowsOfBand, signatureLength } from "./minhash.ts";
import { jaccard, normalise, shinglesOf } from "./shingles.ts";
import { createUnionFind, type UnionFind } from "./union-find.ts";

export interface NearDuplicateOptions extends ProgressOptions {
  /** Least Jaccard similarity of the shingles of two near duplicates, above 0 and up to 1. */
  readonly threshold: number;
  /** Of the orders of MinHash. */
  readonly seed: number;
}

export interface NearDuplicates {
  /** For each document the first document of its group; itself, when it is like no earlier one. */
  readonly groupOf: Uint32Array;
  /** Groups of two or more. */
  readonly groups: number;
  /** Documents that are not the first of their group. */
  readonly duplicates: number;
  /** Of the duplicates, those whose words are the words of an earlier one. */
  readonly exact: number;
}

/** In one bucket a group is compared with at most so many strangers: what keeps the time linear, come what may. */
const mostComparisons = 256;

/**
 * The connected components of "at least `threshold` alike". Verified pairs are exact; a pair at the very threshold is
 * overlooked with a probability of at most 0.1%, a closer one far less.
 */
export async function findNearDuplicates(
  documents: readonly { readonly text: string }[],
  options: NearDuplicateOptions,
): Promise<NearDuplicates> {
  const sets = createUnionFind(documents.length);
  const { distinct, signatures } = await readDistinct(documents, sets, options);
  const exact = documents.length - distinct.length;
  await uniteAlike(distinct, signatures, sets, options);

  const groupOf = Uint32Array.from(documents, (_, i) => sets.find(i));
  const followers = groupOf.filter((first, i) => first !== i);
  return { groupOf, groups: new Set(followers).size, duplicates: followers.length, exact };
}

/** A document whose words no earlier one has. */
interface Distinct {
  readonly index: number;
  readonly shingles: Uint32Array;
}

/** Unites documents of the same words; the first of each is signed. */
async function readDistinct(
  documents: readonly { readonly text: string }[],
  sets: UnionFind,
  options: NearDuplicateOptions,
): Promise<{ distinct: Distinct[]; signatures: Uint32Array }> {
  const firstOf = new Map<string, number>();
  const distinct: Distinct[] = [];
  const signatures = new Uint32Array(documents.length * signatureLength);
  const signer = createSigner(options.seed);
  const report = createReporter("duplicates", documents.length, options);
  for (const [index, { text }] of documents.entries()) {
    const normalised = normalise(text);
    const hash = createHash("sha256").update(normalised).digest("base64");
    const first = firstOf.get(hash);
    if (first === undefined) {
      const shingles = shinglesOf(normalised);
      const from = distinct.length * signatureLength;
      signer.sign(shingles, signatures.subarray(from, from + signatureLength));
      firstOf.set(hash, index);
      distinct.push({ index, shingles });
    } else sets.unite(first, index);
    await report(index + 1);
  }
  return { distinct, signatures: signatures.subarray(0, distinct.length * signatureLength) };
}

async function uniteAlike(
  distinct: readonly Distinct[],
  signatures: Uint32Array,
  sets: UnionFind,
  { threshold, signal }: NearDuplicateOptions,
): Promise<void> {
  const rows = rowsOfBand(threshold);
  for (let band = 0; band < Math.floor(signatureLength / rows); band++) {
    for (const bucket of bucketsOfBand(signatures, band, rows)) {
      uniteBucket(
        bucket.map((i) => distinct[i]!),
        sets,
        threshold,
      );
    }
    await nextTurn();
    signal?.throwIfAborted();
  }
}

/** What is one group already is not compared again; so a bucket of copies costs one comparison for each. */
function uniteBucket(bucket: readonly Distinct[], sets: UnionFind, threshold: number): void {
  const members = new Map<number, Distinct[]>();
  for (const document of bucket) {
    const group = sets.find(document.index);
    const known = members.get(group);
    if (known === undefined) members.set(group, [document]);
    else known.push(document);
  }
  const groups: Distinct[][] = [];
  for (let newcomer of members.values()) {
    let left = mostComparisons;
    for (let g = groups.length - 1; g >= 0 && left > 0; g--) {
      const group = groups[g]!;
      const pair = newcomer.some((a) => group.some((b) => left-- > 0 && alike(a.shingles, b.shingles, threshold)));
      if (!pair) continue;
      sets.unite(newcomer[0]!.index, group[0]!.index);
      groups.splice(g, 1);
      newcomer = group.length > newcomer.length ? append(group, newcomer) : append(newcomer, group);
    }
    groups.push(newcomer);
  }
}

function append<T>(list: T[], more: readonly T[]): T[] {
  for (const element of more) list.push(element);
  return list;
}

/** Sets whose sizes differ too much need no look. */
function alike(a: Uint32Array, b: Uint32Array, threshold: number): boolean {
  const [small, large] = a.length < b.length ? [a, b] : [b, a];
  return small.length >= threshold * large.length && jaccard(a, b) >= threshold;
}
