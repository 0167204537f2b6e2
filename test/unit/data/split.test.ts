import fc from "fast-check";
import { expect, test } from "vitest";
import { createDocument, type Document } from "../../../coordinator/data/document.ts";
import { splitDocuments } from "../../../coordinator/data/split.ts";

const documentOf = (text: string, i = 0, label?: string): Document =>
  createDocument(`d${i}`, "test", Buffer.from(text), label);
const documentsOf = (count: number): Document[] => Array.from({ length: count }, (_, i) => documentOf(`text ${i}`, i));
const ids = (documents: readonly Document[]): string[] => documents.map(({ id }) => id);

test("puts every document in exactly one part, in order, and leaves no part empty", () => {
  const fraction = fc.double({ min: 0, max: 0.99, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 60 }), fraction, fc.nat(), (count, share, seed) => {
      const documents = documentsOf(count);
      const { train, validation } = splitDocuments(documents, share, seed);
      const kept = new Set(ids(validation));
      expect(ids(train)).toEqual(ids(documents).filter((id) => !kept.has(id)));
      expect(ids(validation)).toEqual(ids(documents).filter((id) => kept.has(id)));
      expect(train.length).toBeGreaterThan(0);
      if (share === 0) expect(validation).toEqual([]);
      else expect(Math.abs(validation.length - share * count)).toBeLessThanOrEqual(1);
      if (share > 0) expect(validation.length).toBeGreaterThan(0);
    }),
  );
});

test("draws the same documents with the same seed, and others with another", () => {
  const documents = documentsOf(100);
  const drawn = (seed: number): string[] => ids(splitDocuments(documents, 0.1, seed).validation);
  expect(drawn(1)).toEqual(drawn(1));
  expect(drawn(1)).not.toEqual(drawn(2));
});

test("says when whole documents cannot give the share that was asked for", () => {
  expect(splitDocuments(documentsOf(3), 0.05, 0).notice).toMatch(/1 of 3 documents and 33\.3% .* 5\.0%/);
  expect(splitDocuments(documentsOf(100), 0.05, 0).notice).toBeUndefined();
});

test("cuts a single document at the paragraph nearest to the fraction", () => {
  const text = `${"a b c. ".repeat(30)}\n\n${"d e f. ".repeat(10)}\n\n${"g h i. ".repeat(4)}`;
  const { train, validation, notice } = splitDocuments([documentOf(text)], 0.1, 0);
  expect(validation[0]?.text).toBe("g h i. ".repeat(4));
  expect((train[0]?.text ?? "") + (validation[0]?.text ?? "")).toBe(text);
  expect(notice).toMatch(/1 document: its last 28 of 312 bytes \(9\.0%\)/);
});

test("cuts a single document of any text in two, never inside a character", () => {
  const text = fc.string({ unit: fc.constantFrom("é", "日", "👩", "a", " ", "\n", ". "), minLength: 2, maxLength: 60 });
  fc.assert(
    fc.property(text, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (whole, fraction) => {
      fc.pre(Array.from(whole).length >= 2);
      const { train, validation } = splitDocuments([documentOf(whole)], fraction, 0);
      const parts = [train[0]?.text ?? "", validation[0]?.text ?? ""];
      expect(parts.join("")).toBe(whole);
      expect(parts).not.toContain("");
      expect(parts.join("")).not.toContain("\ufffd");
    }),
    { numRuns: 1000 },
  );
});

test("refuses to cut a single document of one character", () => {
  expect(() => splitDocuments([documentOf("a")], 0.1, 0)).toThrow(/1 bytes in 1 document/);
});

test("never divides a group, and gives each label its share, with every seed", () => {
  const sizes = fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.constantFrom("ham", "ham", "ham", "spam")), {
    minLength: 60,
    maxLength: 120,
  });
  fc.assert(
    fc.property(sizes, fc.nat(), (groups, seed) => {
      const documents: Document[] = [];
      const groupOf: number[] = [];
      for (const [size, label] of groups) {
        const first = documents.length;
        for (let i = 0; i < size; i++) {
          groupOf.push(first);
          documents.push(documentOf("text", documents.length, label));
        }
      }
      const { train, validation } = splitDocuments(documents, 0.2, seed, {
        groupOf: Uint32Array.from(groupOf),
        stratify: true,
      });
      expect([...ids(train), ...ids(validation)].sort()).toEqual(ids(documents).sort());
      const groupOfId = new Map(documents.map(({ id }, i) => [id, groupOf[i]]));
      const trained = new Set(ids(train).map((id) => groupOfId.get(id)));
      expect(ids(validation).filter((id) => trained.has(groupOfId.get(id)))).toEqual([]);
      for (const label of ["ham", "spam"]) {
        const count = (part: readonly Document[]): number => part.filter((one) => one.label === label).length;
        expect(Math.abs(count(validation) - 0.2 * count(documents))).toBeLessThanOrEqual(5);
      }
    }),
  );
});

test("draws other groups with another seed", () => {
  const documents = Array.from({ length: 100 }, (_, i) => documentOf("text", i, i % 4 === 0 ? "spam" : "ham"));
  const groupOf = Uint32Array.from(documents, (_, i) => i - (i % 2));
  const drawn = (seed: number): string[] => ids(splitDocuments(documents, 0.2, seed, { groupOf }).validation);
  expect(drawn(1)).toEqual(drawn(1));
  expect(drawn(1)).not.toEqual(drawn(2));
  expect(drawn(1).length).toBe(20);
});

test("keeps something on both sides of few and large groups, and refuses a single group", () => {
  const documents = documentsOf(6);
  const groupOf = Uint32Array.from([0, 0, 0, 0, 0, 5]);
  const { train, validation } = splitDocuments(documents, 0.05, 0, { groupOf });
  expect([ids(train).length, ids(validation)]).toEqual([5, ["d5"]]);
  const one = { groupOf: new Uint32Array(6) };
  expect(() => splitDocuments(documents, 0.2, 0, one)).toThrow(/6 documents are 1 group of near duplicates/);
});
