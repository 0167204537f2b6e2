import fc from "fast-check";
import { expect, test } from "vitest";
import { createTokenDataset, createTokenRow } from "../../../coordinator/data/dataset.ts";
import { collate, ignoredTarget } from "../../../coordinator/data/samples.ts";

const eosId = 9;

function rowOf(documents: readonly (readonly number[])[], vocabSize = 10) {
  const row = createTokenRow({ vocabSize, eosId });
  for (const document of documents) {
    row.push(document);
    row.endDocument();
  }
  return row.finish();
}

test("packs documents between end-of-text tokens and pads the last window", () => {
  const dataset = createTokenDataset(
    rowOf([
      [1, 2, 3],
      [4, 5],
    ]),
    4,
    eosId,
  );
  expect(dataset).toMatchObject({ sampleCount: 2, sequenceLength: 4, targetCount: 7 });
  const batch = collate([dataset.sample(1, 5), dataset.sample(0, 6)], dataset);
  expect(batch).toMatchObject({ rows: 2, length: 4, targetsPerRow: 4, targetCount: 7 });
  expect([...batch.inputIds]).toEqual([9, 4, 5, 9, 9, 1, 2, 3]);
  expect([...batch.targets]).toEqual([4, 5, 9, ignoredTarget, 1, 2, 3, 9]);
  expect(batch.attentionMask).toBeUndefined();
});

test("makes every token a target exactly once, after the token before it", () => {
  const document = fc.array(fc.nat({ max: 8 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(
      fc.array(document, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 2, max: 9 }),
      (documents, length) => {
        const dataset = createTokenDataset(rowOf(documents), length, eosId);
        const [inputs, outputs]: [number[], number[]] = [[], []];
        for (let i = 0; i < dataset.sampleCount; i++) {
          const { ids, targets } = dataset.sample(i, i);
          inputs.push(...Array.from(ids));
          outputs.push(...Array.from(targets));
        }
        const whole = [eosId, ...documents.flatMap((ids) => [...ids, eosId])];
        expect(outputs).toEqual(whole.slice(1));
        expect(inputs).toEqual(whole.slice(0, -1));
        expect(outputs).toHaveLength(dataset.targetCount);
      },
    ),
  );
});

test("keeps many tokens in 16 bits where the vocabulary allows it, in 32 where it does not", () => {
  const many = Array.from({ length: 200_000 }, (_, i) => i % 60_000);
  expect(rowOf([many], 65_536)).toBeInstanceOf(Uint16Array);
  const wide = rowOf([many, [70_000]], 70_001);
  expect(wide).toBeInstanceOf(Uint32Array);
  expect([...wide]).toEqual([eosId, ...many, eosId, 70_000, eosId]);
});

test("refuses a token outside the vocabulary, with both numbers", () => {
  expect(() => rowOf([[3, 10]])).toThrow(/token id 10 .* 10 tokens/);
  expect(() => rowOf([[undefined as unknown as number]])).toThrow(/token id undefined/);
});

test("names the documents of a sample, unless a document holds the end-of-text token itself", () => {
  const documents = [
    [1, 2, 3],
    [4, 5],
    [6, 7, 8],
  ];
  // 9 1 2 3 | 9 4 5 9 | 6 7 8 9
  const dataset = createTokenDataset(rowOf(documents), 4, eosId, ["a", "b", "c"]);
  expect([0, 1, 2].map((i) => dataset.sourceOf?.(i))).toEqual(["a", "b to c", "c"]);
  const wide = createTokenDataset(rowOf(documents), 6, eosId, ["a", "b", "c"]);
  expect([0, 1].map((i) => wide.sourceOf?.(i))).toEqual(["a to b", "b to c"]);
  expect(createTokenDataset(rowOf([[1, 9, 3], [4]]), 4, eosId, ["a", "b"]).sourceOf?.(0)).toBeUndefined();
});
