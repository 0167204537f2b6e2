import { expect, test } from "vitest";
import { configSchema } from "../../../common/config/schema.ts";
import { resolveTask } from "../../../common/task.ts";
import { createClassification } from "../../../coordinator/data/classification.ts";
import { collate, ignoredTarget } from "../../../coordinator/data/samples.ts";
import {
  createSampleStore,
  createStoredDataset,
  fromCache,
  toCache,
} from "../../../coordinator/data/stored-samples.ts";
import { createTagging } from "../../../coordinator/data/tagging.ts";
import { wordTokenizer } from "../../support/word-tokenizer.ts";

// [PAD] 0, [CLS] 1, [SEP] 2, [UNK] 3, buy 4, now 5, see 6, you 7, ##r 8, soon 9
const tokenizer = wordTokenizer({
  specials: ["[PAD]", "[CLS]", "[SEP]"],
  words: ["[UNK]", "buy", "now", "see", "you", "##r", "soon"],
  postProcessor: { type: "BertProcessing", cls: ["[CLS]", 1], sep: ["[SEP]", 2] },
});
const fields = { text_field: "text", pair_field: undefined, label_field: "label" };
const record = (value: Record<string, unknown>) => ({ where: "a.jsonl:3", value });

function classify(settings: object, labels: string[], given: object = {}) {
  const { task } = configSchema.parse({ task: { kind: "classification", ...settings } });
  const maker = createClassification(resolveTask(task, labels), { ...fields, ...given });
  return (value: Record<string, unknown>, longest = 8) => maker.make(maker.read(record(value)), tokenizer, longest);
}

test("a text stands between the special tokens, with the index of its label", () => {
  const make = classify({}, ["ham", "spam"]);
  expect(make({ text: "buy now", label: "spam" })).toMatchObject({
    ids: [1, 4, 5, 2],
    targets: [1],
    truncated: false,
  });
  expect(make({ text: "see you soon", label: 0 }, 4)).toMatchObject({
    ids: [1, 6, 7, 2],
    targets: [0],
    truncated: true,
  });
  expect(make({ text: " ", label: 0 })).toBe("empty");
});

test("the name of a special token in a text is text", () => {
  const make = classify({}, ["ham", "spam"]);
  expect(make({ text: "[SEP]", label: 0 })).toMatchObject({ ids: [1, 3, 3, 3, 2] });
});

test("a pair has the second text behind the first, of another type", () => {
  const make = classify({}, ["no", "yes"], { pair_field: "answer" });
  expect(make({ text: "buy", answer: "see you", label: "yes" })).toMatchObject({
    ids: [1, 4, 2, 6, 7, 2],
    types: [0, 0, 0, 1, 1, 1],
    targets: [1],
  });
});

test("several labels are one target each", () => {
  const make = classify({ multi_label: true }, ["a", "b", "c"]);
  expect(make({ text: "buy", label: ["c", 0] })).toMatchObject({ targets: [1, 0, 1] });
  expect(make({ text: "buy", label: [] })).toMatchObject({ targets: [0, 0, 0] });
  expect(() => make({ text: "buy", label: "a" })).toThrow('"label" is a string instead of a list');
});

test.each<[Record<string, unknown>, string]>([
  [{ text: "a", label: 7 }, '"label" is 7, out of range: there are 2 labels, 0 to 1'],
  [{ text: "a", label: "egg" }, '"label" is "egg", none of the 2 labels (ham, spam)'],
  [{ text: "a" }, 'no field "label"; it has "text"'],
  [{ text: 1, label: 0 }, '"text" is a number instead of a string'],
])("refuses %j", (value, message) => {
  expect(() => classify({}, ["ham", "spam"])(value)).toThrow(message);
});

test("samples become a batch as long as its longest, in quarters of the sequence length, with mask, types and targets", () => {
  const make = classify({}, ["no", "yes"], { pair_field: "answer" });
  const store = createSampleStore();
  store.add(make({ text: "buy", answer: "see you", label: "yes" }));
  store.add("empty");
  store.add(make({ text: "buy", answer: "", label: "no" }));
  const stored = fromCache("x", toCache("x", store.finish()));
  expect(stored).toMatchObject({ empty: 1, tooLong: 0, truncated: 0 });
  const dataset = createStoredDataset(stored, { sequenceLength: 32, targetsPerRow: 1, padId: 0, causal: false });
  expect(dataset).toMatchObject({ sampleCount: 2, targetCount: 2 });
  const batch = collate([dataset.sample(0, 0), dataset.sample(1, 1)], dataset);
  expect(batch).toMatchObject({ rows: 2, length: 8, targetsPerRow: 1, targetCount: 2 });
  expect([...batch.inputIds]).toEqual([1, 4, 2, 6, 7, 2, 0, 0, 1, 4, 2, 2, 0, 0, 0, 0]);
  expect([...batch.attentionMask!]).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
  expect([...batch.tokenTypeIds!]).toEqual([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
  expect([...batch.targets]).toEqual([1, 0]);
});

test("a word's first token has its tag, its other tokens and the special ones have none", () => {
  const { task } = configSchema.parse({ task: { kind: "tagging" } });
  const maker = createTagging(resolveTask(task, ["B", "O"]), { tokens_field: "tokens", tags_field: "tags" });
  const make = (value: Record<string, unknown>, longest = 8) =>
    maker.make(maker.read(record(value)), tokenizer, longest);
  const none = ignoredTarget;
  expect(make({ tokens: ["see", "your", "soon"], tags: ["O", "B", 1] })).toMatchObject({
    ids: [1, 6, 7, 8, 9, 2],
    targets: [none, 1, 0, none, 1, none],
    truncated: false,
  });
  expect(make({ tokens: ["see", "your", "soon"], tags: [1, 0, 1] }, 4)).toMatchObject({
    ids: [1, 6, 7, 2],
    targets: [none, 1, 0, none],
    truncated: true,
  });
  expect(make({ tokens: [], tags: [] })).toBe("empty");
  expect(() => make({ tokens: ["a", "b"], tags: ["O"] })).toThrow('"tags" has 1 entries for 2 of "tokens"');
  expect(() => make({ tokens: ["a"], tags: ["X"] })).toThrow('"tags" has as entry 0 "X", none of the 2 labels (B, O)');
  expect(() => make({ tokens: [1], tags: ["O"] })).toThrow('"tokens" has a number as entry 0, instead of a string');
});
