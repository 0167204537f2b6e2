import fc from "fast-check";
import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { rowsOfBand, signatureLength } from "../../../coordinator/data/duplicates/minhash.ts";
import { findNearDuplicates } from "../../../coordinator/data/duplicates/near-duplicates.ts";
import { jaccard, normalise, shinglesOf } from "../../../coordinator/data/duplicates/shingles.ts";
import { createUnionFind } from "../../../coordinator/data/duplicates/union-find.ts";
import { loadDocuments } from "../../../coordinator/data/documents.ts";

const textsOf = (texts: readonly string[]): { text: string }[] => texts.map((text) => ({ text }));

/** Jaccard of word triples as sets of strings, and components by walking: nothing of the code under test. */
function bruteForce(
  texts: readonly string[],
  threshold: number,
): { groupOf: number[]; pairs: [number, number, number][] } {
  const triples = texts.map((text) => {
    const words = text.toLowerCase().match(/[a-z0-9]+/g) ?? [text.trim()];
    const count = Math.max(1, words.length - 2);
    return new Set(Array.from({ length: count }, (_, i) => words.slice(i, i + 3).join(" ")));
  });
  const pairs: [number, number, number][] = [];
  for (let a = 0; a < texts.length; a++) {
    for (let b = a + 1; b < texts.length; b++) {
      const [left, right] = [triples[a]!, triples[b]!];
      const shared = [...left].filter((triple) => right.has(triple)).length;
      const similarity = shared / (left.size + right.size - shared);
      if (similarity >= threshold) pairs.push([a, b, similarity]);
    }
  }
  const groupOf = texts.map((_, i) => i);
  for (let changed = true; changed;) {
    changed = false;
    for (const [a, b] of pairs) {
      const first = Math.min(groupOf[a]!, groupOf[b]!);
      changed ||= groupOf[a] !== first || groupOf[b] !== first;
      groupOf[a] = groupOf[b] = first;
    }
  }
  return { groupOf, pairs };
}

/** Texts of few words, and copies of them with some words changed: pairs of every similarity. */
function relatedTexts(count: number, seed: number): string[] {
  const random = createRandom(seed, "texts");
  const word = (): string => `w${random.integer(400)}`;
  const texts: string[] = [];
  for (let i = 0; i < count; i++) {
    const original = texts[random.integer(texts.length)];
    if (original === undefined || random.next() < 0.4) {
      texts.push(Array.from({ length: 5 + random.integer(60) }, word).join(" "));
    } else {
      const share = random.next() * 0.2;
      texts.push(
        original
          .split(" ")
          .map((old) => (random.next() < share ? word() : old))
          .join(" "),
      );
    }
  }
  return texts;
}

test.each([0.5, 0.7, 0.9])("finds the groups that comparing all pairs finds, at %d", async (threshold) => {
  for (let seed = 0; seed < 3; seed++) {
    const texts = relatedTexts(200, seed);
    const expected = bruteForce(texts, threshold);
    expect(expected.pairs.length, `seed ${seed}`).toBeGreaterThan(20);
    const found = await findNearDuplicates(textsOf(texts), { threshold, seed });
    expect([...found.groupOf], `seed ${seed}`).toEqual(expected.groupOf);
  }
});

test("finds the groups of real paragraphs that comparing all pairs finds", async () => {
  const speeches = await loadDocuments({ source: "sotu", text_field: "text" });
  // Paragraphs: short, many, some repeated from year to year.
  const texts = speeches
    .flatMap(({ text }) => text.split("\n\n"))
    .filter((text) => text.length > 40)
    .filter((_, i) => i % 20 === 0)
    .slice(0, 500);
  const expected = bruteForce(
    texts.map((text) => normalise(text).replace(/[^a-z0-9 ]/g, "x")),
    0.5,
  );
  const found = await findNearDuplicates(textsOf(texts), { threshold: 0.5, seed: 1 });
  expect([...found.groupOf]).toEqual(expected.groupOf);
});

test("counts groups, duplicates and exact ones, and does not see layout, case and punctuation", async () => {
  const letter = "Dear friend, I am the widow of the late general and write to you in confidence about a sum of money";
  const found = await findNearDuplicates(
    textsOf([
      "an unrelated note",
      letter,
      letter.toUpperCase().replaceAll(",", " --\n"),
      `${letter} today`,
      "!!!",
      "???",
    ]),
    { threshold: 0.8, seed: 0 },
  );
  expect([...found.groupOf]).toEqual([0, 1, 1, 1, 4, 5]);
  expect(found).toMatchObject({ groups: 1, duplicates: 2, exact: 1 });
});

test("joins texts through a third that is like both", async () => {
  const words = Array.from({ length: 40 }, (_, i) => `w${i}`);
  const [a, b, c] = [words.slice(0, 30), words.slice(4, 34), words.slice(8, 38)].map((part) => part.join(" "));
  const alike = (x = "", y = ""): number => jaccard(shinglesOf(x), shinglesOf(y));
  expect(alike(a, b)).toBeGreaterThan(0.7);
  expect(alike(a, c)).toBeLessThan(0.7);
  const found = await findNearDuplicates(textsOf([a!, c!, b!]), { threshold: 0.7, seed: 3 });
  expect([...found.groupOf]).toEqual([0, 0, 0]);
});

test("finds the same groups with every seed and in every order", async () => {
  const texts = relatedTexts(150, 9);
  const groupsOf = async (order: readonly number[], seed: number): Promise<string[]> => {
    const { groupOf } = await findNearDuplicates(textsOf(order.map((i) => texts[i]!)), { threshold: 0.6, seed });
    const groups = new Map<number, number[]>();
    groupOf.forEach((group, at) => groups.set(group, [...(groups.get(group) ?? []), order[at]!]));
    return [...groups.values()].map((group) => group.sort((a, b) => a - b).join()).sort();
  };
  const forward = texts.map((_, i) => i);
  const expected = await groupsOf(forward, 0);
  expect(await groupsOf(forward, 7)).toEqual(expected);
  expect(await groupsOf([...forward].reverse(), 0)).toEqual(expected);
});

test("compares thousands of copies with one another in linear time", async () => {
  const base = Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ");
  let read = 0;
  const texts = Array.from({ length: 3000 }, (_, i) => ({
    get text() {
      read++;
      return `${base} ${i}`;
    },
  }));
  const { groups, duplicates, exact } = await findNearDuplicates(texts, { threshold: 0.8, seed: 0 });
  expect({ groups, duplicates, exact, read }).toEqual({ groups: 1, duplicates: 2999, exact: 0, read: 3000 });
});

test("takes a letter of a script without spaces for a word", () => {
  expect(normalise("免費 Trial試用!")).toBe("免 費 trial 試 用");
  expect(shinglesOf(normalise("免費無限次")).length).toBe(3);
});

test("gives the similarity of sets", () => {
  const set = fc.uniqueArray(fc.nat(60), { minLength: 1 }).map((numbers) => numbers.sort((a, b) => a - b));
  fc.assert(
    fc.property(set, set, (a, b) => {
      const shared = a.filter((number) => b.includes(number)).length;
      expect(jaccard(Uint32Array.from(a), Uint32Array.from(b))).toBe(shared / new Set([...a, ...b]).size);
    }),
  );
});

test("has enough bands for a pair at the threshold, and no fewer rows than that allows", () => {
  const miss = (threshold: number, rows: number): number =>
    (1 - threshold ** rows) ** Math.floor(signatureLength / rows);
  for (const threshold of [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1]) {
    const rows = rowsOfBand(threshold);
    expect(miss(threshold, rows)).toBeLessThanOrEqual(1e-3);
    if (rows < 16) expect(miss(threshold, rows + 1)).toBeGreaterThan(1e-3);
  }
});

test("lets the smallest element stand for a set", () => {
  const sets = createUnionFind(6);
  expect([sets.unite(4, 2), sets.unite(5, 4), sets.unite(2, 5), sets.unite(1, 0)]).toEqual([true, true, false, true]);
  expect([0, 1, 2, 3, 4, 5].map((i) => sets.find(i))).toEqual([0, 0, 2, 3, 2, 2]);
});
