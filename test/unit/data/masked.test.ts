import { expect, test } from "vitest";
import { bertTemplate } from "../../../common/sequence-template.ts";
import { createMaskedDataset } from "../../../coordinator/data/masked.ts";
import { collate, ignoredTarget } from "../../../coordinator/data/samples.ts";

const [pad, cls, sep, mask] = [0, 1, 2, 3];
const specialIds = new Set([pad, cls, sep, mask]);
const options = {
  ...{ sequenceLength: 102, template: bertTemplate(cls, sep), maskId: mask, padId: pad, specialIds },
  ...{ vocabSize: 1000, probability: 0.15, seed: 1, stream: "masks" },
};
const text = Array.from({ length: 100 }, (_, i) => 10 + (i % 50));
const row = (...documents: number[][]) => Uint16Array.from([sep, ...documents.flatMap((ids) => [...ids, sep])]);

test("packs documents between special tokens and draws 15% of the others", () => {
  const dataset = createMaskedDataset(row(text, text.slice(0, 20)), options);
  expect(dataset).toMatchObject({ sampleCount: 2, targetCount: 15 + 3 });
  const { ids, targets } = dataset.sample(0, 0);
  const [whole, wanted] = [Array.from(ids), Array.from(targets)];
  const original = whole.map((id, at) => (wanted[at] === ignoredTarget ? id : wanted[at]));
  expect(original).toEqual([cls, ...text, sep]);
  expect(wanted.filter((target) => target !== ignoredTarget)).toHaveLength(15);
  const second = Array.from(dataset.sample(1, 0).targets);
  const restored = Array.from(dataset.sample(1, 0).ids).map((id, at) => (second[at]! >= 0 ? second[at] : id));
  expect(restored).toEqual([cls, sep, ...text.slice(0, 20), sep]); // the separator of the first document begins it
  const batch = collate([dataset.sample(1, 0)], dataset);
  expect(batch).toMatchObject({ length: 102, targetsPerRow: 102, targetCount: 3 });
  expect(batch.attentionMask!.reduce((a, b) => a + b)).toBe(23);
});

test("masks 80%, replaces 10% and leaves 10%, never by a special token", () => {
  const dataset = createMaskedDataset(row(text), options);
  const fates = { masked: 0, replaced: 0, kept: 0 };
  for (let position = 0; position < 1000; position++) {
    const { ids, targets } = dataset.sample(0, position);
    for (let at = 0; at < ids.length; at++) {
      if (targets[at] === ignoredTarget) continue;
      if (ids[at] === mask) fates.masked++;
      else if (ids[at] === targets[at]) fates.kept++;
      else {
        fates.replaced++;
        expect(specialIds.has(ids[at]!)).toBe(false);
      }
    }
  }
  // 15,000 draws: five standard deviations are 1.6% and 1.2%.
  expect(Math.abs(fates.masked / 15_000 - 0.8)).toBeLessThan(0.017);
  expect(Math.abs(fates.kept / 15_000 - 0.1)).toBeLessThan(0.013);
});

test("draws by seed and position alone: again the same, elsewhere another", () => {
  const draw = (position: number, seed = 1) =>
    Array.from(createMaskedDataset(row(text), { ...options, seed }).sample(0, position).ids);
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(draw(7)).not.toEqual(draw(7, 2));
});
