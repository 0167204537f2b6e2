// Which documents are kept out of training. Whole documents, drawn with the seed, so that validation measures text
// that was never seen; groups of near duplicates stay together, each label has its share in both parts, and a corpus of
// one document is cut in two. Pure.

import { permutation, createRandom } from "../../common/random.ts";
import { createDocument, type Document } from "./document.ts";
import { invalidData } from "./utf8.ts";

export interface Split {
  readonly train: readonly Document[];
  /** Empty when the fraction is 0. */
  readonly validation: readonly Document[];
  /** A line for the user when the split is not what the fraction says, or undefined. */
  readonly notice: string | undefined;
}

export interface SplitOptions {
  /** For each document the first document of its group; a group is never divided. */
  readonly groupOf?: Uint32Array | undefined;
  /** Documents with labels are drawn label by label, so that a rare one is in both parts. */
  readonly stratify?: boolean | undefined;
}

/**
 * Both parts keep the order of `documents`, and neither is empty when `fraction` is above 0.
 * One document alone is cut at the end of the paragraph, line, sentence or word nearest to the fraction; its end validates.
 * @throws RingtuneError data_invalid when one document is too short to cut, or all documents are one group
 */
export function splitDocuments(
  documents: readonly Document[],
  fraction: number,
  seed: number,
  options: SplitOptions = {},
): Split {
  if (fraction === 0) return { train: documents, validation: [], notice: undefined };
  const [only] = documents;
  if (only !== undefined && documents.length === 1) return cutDocument(only, fraction);
  const order = permutation(documents.length, createRandom(seed, "split"));
  const count = Math.min(documents.length - 1, Math.max(1, Math.round(documents.length * fraction)));
  const chosen =
    options.groupOf === undefined && options.stratify !== true
      ? new Set(order.subarray(0, count))
      : drawGroups(documents, order, fraction, options);
  const train = documents.filter((_, i) => !chosen.has(i));
  const validation = documents.filter((_, i) => chosen.has(i));
  const share = sizeOf(validation) / (sizeOf(train) + sizeOf(validation));
  const uneven = share > 2 * fraction || share < fraction / 2;
  const notice = uneven ? unevenNotice(chosen.size, documents.length, share, fraction) : undefined;
  return { train, validation, notice };
}

/**
 * For each label, whole groups in random order until the label's share is full; a group that is too large for what is
 * missing trains. The label of a group is that of its first document.
 */
function drawGroups(
  documents: readonly Document[],
  order: Uint32Array,
  fraction: number,
  { groupOf, stratify }: SplitOptions,
): Set<number> {
  const groups = new Map<number, number[]>();
  for (let i = 0; i < documents.length; i++) {
    const group = groupOf?.[i] ?? i;
    const members = groups.get(group);
    if (members === undefined) groups.set(group, [i]);
    else members.push(i);
  }
  const strata = new Map<string, number[][]>();
  for (const first of order) {
    const members = groups.get(first);
    if (members === undefined) continue;
    const label = stratify === true ? (documents[first]?.label ?? "") : "";
    const stratum = strata.get(label);
    if (stratum === undefined) strata.set(label, [members]);
    else stratum.push(members);
  }
  const chosen = new Set<number>();
  for (const stratum of strata.values()) {
    let missing = Math.round(fraction * stratum.reduce((sum, members) => sum + members.length, 0));
    for (const members of stratum) {
      if (members.length > missing) continue;
      missing -= members.length;
      members.forEach((i) => chosen.add(i));
    }
  }
  // Few documents, or large groups: something must validate, and something must train.
  const smallestFirst = [...groups.values()].sort((a, b) => a.length - b.length);
  const [smallest] = smallestFirst;
  if (smallest === undefined || smallestFirst.length < 2) {
    throw invalidData(
      `${documents.length} documents are 1 group of near duplicates, which can't be both trained on and validated; set data.near_duplicates to keep, or data.validation_fraction to 0`,
      { documents: documents.length, groups: smallestFirst.length },
    );
  }
  if (chosen.size === 0) smallest.forEach((i) => chosen.add(i));
  if (chosen.size === documents.length) smallest.forEach((i) => chosen.delete(i));
  return chosen;
}

function unevenNotice(count: number, total: number, share: number, fraction: number): string {
  const percent = (part: number): string => `${(100 * part).toFixed(1)}%`;
  return `validation has ${count} of ${total} documents and ${percent(share)} of the text, where data.validation_fraction asks for ${percent(fraction)}: documents are not split`;
}

function cutDocument(document: Document, fraction: number): Split {
  const { bytes, id, source } = document;
  const at = cutNear(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), fraction);
  if (at === undefined) {
    throw invalidData(
      `${id}: ${bytes.length} bytes in 1 document are too few to keep a part for validation; give more text, or set data.validation_fraction to 0`,
      { bytes: bytes.length, documents: 1 },
    );
  }
  const share = ((100 * (bytes.length - at)) / bytes.length).toFixed(1);
  return {
    train: [createDocument(`${id} (beginning)`, source, bytes.subarray(0, at))],
    validation: [createDocument(`${id} (end)`, source, bytes.subarray(at))],
    notice: `there is 1 document: its last ${bytes.length - at} of ${bytes.length} bytes (${share}%) are kept for validation`,
  };
}

/** The best place to cut is the most natural one that moves the cut by less than half of the smaller part. */
function cutNear(bytes: Buffer, fraction: number): number | undefined {
  const wanted = Math.round(bytes.length * (1 - fraction));
  const reach = Math.floor(Math.min(wanted, bytes.length - wanted) / 2);
  for (const mark of ["\n\n", "\n", ". ", " "]) {
    const before = bytes.lastIndexOf(mark, wanted - mark.length) + mark.length;
    const after = bytes.indexOf(mark, wanted) + mark.length;
    const found = [before, after].filter((at) => Math.abs(at - wanted) <= reach && at >= mark.length);
    const [nearest] = found.sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted));
    if (nearest !== undefined && nearest > 0 && nearest < bytes.length) return nearest;
  }
  const insideCharacter = (at: number): boolean => (bytes[at]! & 0xc0) === 0x80;
  let at = Math.max(1, Math.min(wanted, bytes.length - 1));
  while (at < bytes.length && insideCharacter(at)) at++;
  if (at >= bytes.length) for (at = bytes.length - 1; at > 0 && insideCharacter(at);) at--;
  return at > 0 ? at : undefined;
}

function sizeOf(documents: readonly Document[]): number {
  return documents.reduce((size, { bytes }) => size + bytes.length, 0);
}
