import { expect, test } from "vitest";
import { configSchema, type Config } from "../../../common/config/schema.ts";
import { divideDocuments } from "../../../coordinator/data/divide.ts";
import { createDocument, type Document } from "../../../coordinator/data/document.ts";
import { findNearDuplicates } from "../../../coordinator/data/duplicates/near-duplicates.ts";
import { loadSpamAssassin } from "../../../coordinator/data/email/spam-assassin.ts";

const letter =
  "Dear friend I am the widow of the late general and write to you in confidence about a large sum of money";
const documentsOf = (texts: readonly (readonly [text: string, label: string])[]): Document[] =>
  texts.map(([text, label], i) => createDocument(`mail ${i}`, "test", Buffer.from(text), label));

/** Three mails that are copies, one of them mislabelled, among others. */
const mails = documentsOf([
  [letter, "spam"],
  ...Array.from(
    { length: 17 },
    (_, i) => [`note ${i} of day ${i} to person ${i}`, i % 3 === 0 ? "spam" : "ham"] as const,
  ),
  [`${letter} today`, "spam"],
  [letter.toUpperCase(), "ham"],
]);

async function divide(
  documents: readonly Document[],
  settings: object,
): Promise<{ ids: string[]; validated: string[]; notices: string[] }> {
  const config: Config = configSchema.parse({ train: { steps: 1 }, ...settings });
  const notices: string[] = [];
  const { train, validation } = await divideDocuments(documents, config, { onNotice: (line) => notices.push(line) });
  const ids = [...train, ...validation].map(({ id }) => id).sort();
  return { ids, validated: validation.map(({ id }) => id), notices };
}

test("groups near duplicates when texts are classified, and says how many there are and which labels conflict", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const settings = {
      task: { kind: "classification" },
      train: { steps: 1, seed },
      data: { validation_fraction: 0.2 },
    };
    const { ids, validated, notices } = await divide(mails, settings);
    expect(ids.length).toBe(20);
    expect([0, 3]).toContain(["mail 0", "mail 18", "mail 19"].filter((id) => validated.includes(id)).length);
    expect(notices).toEqual([
      "data: 2 of 20 documents are near duplicates of others (1 exact; similarity 0.5), in 1 group: each group is on one side of the split",
      "data: 1 group of near duplicates has more than one label, such as mail 0 (spam) and mail 19 (ham)",
    ]);
  }
});

test("takes no notice of near duplicates elsewhere, unless it is told to", async () => {
  expect((await divide(mails, {})).notices).toEqual([]);
  expect((await divide(mails, { data: { near_duplicates: "group" } })).notices[0]).toContain("in 1 group");
  const none = await divide(mails.slice(1, 10), { data: { near_duplicates: "group" } });
  expect(none.notices[0]).toBe("data: no near duplicates among 9 documents (similarity 0.5)");
});

test("drops all but the first of each group", async () => {
  const { ids, notices } = await divide(mails, { data: { near_duplicates: "drop" } });
  expect(ids).not.toContain("mail 18");
  expect(ids).not.toContain("mail 19");
  expect(ids.length).toBe(18);
  expect(notices[0]).toContain("2 dropped, the first of each group kept");
});

test("gives other tokens to the cache when a setting or a label changes", async () => {
  const originOf = async (settings: object, documents = mails): Promise<string> => {
    const config = configSchema.parse({ train: { steps: 1 }, task: { kind: "classification" }, ...settings });
    return JSON.stringify((await divideDocuments(documents, config, { onNotice: () => undefined })).origin);
  };
  const relabelled = [...mails.slice(0, -1), createDocument("mail 19", "test", mails[19]!.bytes, "spam")];
  const origins = [
    await originOf({}),
    await originOf({ data: { near_duplicates: "keep" } }),
    await originOf({ data: { near_duplicate_threshold: 0.9 } }),
    await originOf({ train: { steps: 1, seed: 1 } }),
    await originOf({}, relabelled),
  ];
  expect(new Set(origins).size).toBe(origins.length);
});

test("has no near-duplicate pair across the split of real mails", async () => {
  const sample = await loadSpamAssassin({ every: 12 });
  const documents = sample.map(({ id, text, label }) => createDocument(id, "spam-assassin", Buffer.from(text), label));
  const config = configSchema.parse({
    task: { kind: "classification" },
    data: { validation_fraction: 0.2 },
    train: { steps: 1 },
  });
  const { train, validation } = await divideDocuments(documents, config, { onNotice: () => undefined });
  expect(validation.length / documents.length).toBeCloseTo(0.2, 2);
  const spam = (part: readonly Document[]): number => part.filter(({ label }) => label === "spam").length / part.length;
  expect(Math.abs(spam(validation) - spam(train))).toBeLessThan(0.01);

  // Every pair, with sets of words in strings: nothing of the code under test.
  const triples = ({ text }: Document): Set<string> => {
    const words = text
      .normalize("NFKC")
      .toLowerCase()
      .match(/[\p{L}\p{N}\p{M}]+/gu) ?? [text.trim()];
    return new Set(Array.from({ length: Math.max(1, words.length - 2) }, (_, i) => words.slice(i, i + 3).join(" ")));
  };
  const trained = train.map(triples);
  const across = validation.flatMap((mail) => {
    const own = triples(mail);
    return trained.flatMap((other, i) => {
      if (Math.min(own.size, other.size) < 0.5 * Math.max(own.size, other.size)) return [];
      let shared = 0;
      for (const triple of own) if (other.has(triple)) shared++;
      return shared >= 0.5 * (own.size + other.size - shared) ? [`${mail.id} ${train[i]?.id}`] : [];
    });
  });
  expect(across).toEqual([]);
  const { groups } = await findNearDuplicates(documents, { threshold: 0.5, seed: 0 });
  expect(groups).toBeGreaterThan(5);
});
