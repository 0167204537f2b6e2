// Samples that were made once, in a few typed arrays: as the cache keeps them and as batches read them. How a sample is made
// is the tasks' business.

import type { CacheEntry } from "./cache.ts";
import { countTargets, type Sample, type SampleDataset } from "./samples.ts";
import type { Dropped, MadeSample } from "./sample-maker.ts";

export interface StoredSamples {
  /** Of all samples, one after another. */
  readonly ids: Int32Array;
  /** Where in `ids` a sample begins; one more than there are samples, the last being the end. */
  readonly starts: Uint32Array;
  /** Of all samples, as many for each as its dataset says. */
  readonly targets: Int32Array;
  /** As many as `ids`, or none when all are 0. */
  readonly types: Uint8Array;
  readonly empty: number;
  readonly tooLong: number;
  readonly truncated: number;
}

export interface SampleStore {
  add(made: MadeSample | Dropped): void;
  finish(): StoredSamples;
}

export function createSampleStore(): SampleStore {
  const [ids, targets, types]: number[][] = [[], [], []];
  const starts = [0];
  const count = { empty: 0, "too long": 0, truncated: 0 };
  const append = (to: number[], from: ArrayLike<number>): void => {
    for (let i = 0; i < from.length; i++) to.push(from[i] ?? 0);
  };
  return {
    add(made) {
      if (typeof made === "string") {
        count[made]++;
        return;
      }
      append(ids!, made.ids);
      append(targets!, made.targets);
      append(types!, made.types ?? new Uint8Array(made.ids.length));
      starts.push(ids!.length);
      if (made.truncated) count.truncated++;
    },
    finish: () => ({
      ids: Int32Array.from(ids!),
      starts: Uint32Array.from(starts),
      targets: Int32Array.from(targets!),
      types: types!.some((type) => type !== 0) ? Uint8Array.from(types!) : new Uint8Array(),
      empty: count.empty,
      tooLong: count["too long"],
      truncated: count.truncated,
    }),
  };
}

export function createStoredDataset(
  stored: StoredSamples,
  shape: Pick<SampleDataset, "sequenceLength" | "targetsPerRow" | "padId" | "causal">,
): SampleDataset {
  const { ids, starts, targets, types } = stored;
  const { targetsPerRow } = shape;
  return {
    ...shape,
    sampleCount: starts.length - 1,
    targetCount: countTargets(targets),
    isPacked: false,
    sample(i): Sample {
      const [from, to] = [starts[i]!, starts[i + 1]!];
      const ownTargets =
        targetsPerRow === "tokens"
          ? targets.subarray(from, to)
          : targets.subarray(i * targetsPerRow, (i + 1) * targetsPerRow);
      const sample = { ids: ids.subarray(from, to), targets: ownTargets };
      return types.length === 0 ? sample : { ...sample, types: types.subarray(from, to) };
    },
  };
}

/** As a cache keeps them, among others: every name begins with `part`. */
export function toCache(part: string, { empty, tooLong, truncated, ...arrays }: StoredSamples): CacheEntry {
  const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return {
    facts: { [`${part}.empty`]: empty, [`${part}.tooLong`]: tooLong, [`${part}.truncated`]: truncated },
    sections: Object.fromEntries(Object.entries(arrays).map(([name, array]) => [`${part}.${name}`, bytes(array)])),
  };
}

export function fromCache(part: string, { facts, sections }: CacheEntry): StoredSamples {
  const bytes = (name: string): Uint8Array => sections[`${part}.${name}`] ?? new Uint8Array();
  const ints = (name: string): Int32Array => {
    const { buffer, byteOffset, byteLength } = bytes(name);
    return new Int32Array(buffer, byteOffset, byteLength / 4);
  };
  return {
    ids: ints("ids"),
    starts: new Uint32Array(ints("starts").buffer),
    targets: ints("targets"),
    types: bytes("types"),
    empty: facts[`${part}.empty`] ?? 0,
    tooLong: facts[`${part}.tooLong`] ?? 0,
    truncated: facts[`${part}.truncated`] ?? 0,
  };
}
