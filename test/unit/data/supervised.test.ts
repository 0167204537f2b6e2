import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { configSchema } from "../../../common/config/schema.ts";
import { prepareData, type PrepareOptions } from "../../../coordinator/data/prepare.ts";

let folder: string;
let notices: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ringtune-supervised-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  notices = [];
});

function prepare(task: object, lines: readonly object[], changes: Record<string, object> = {}, options = {}) {
  const source = join(folder, "data.jsonl");
  writeFileSync(source, lines.map((line) => JSON.stringify(line)).join("\n"));
  const config = configSchema.parse({
    task,
    data: {
      source,
      validation_fraction: 0.2,
      near_duplicates: "keep",
      cache: join(folder, "cache"),
      ...changes["data"],
    },
    tokenizer: { vocab_size: 280 },
    train: { sequence_length: 16, ...changes["train"] },
  });
  const all: PrepareOptions = { onNotice: (line) => notices.push(line), ...options };
  return prepareData(config, all);
}

const mails = Array.from({ length: 20 }, (_, i) => ({ text: `mail number ${i}`, label: i % 4 === 0 ? "spam" : "ham" }));

test("samples of a classification come with labels that were found, an encoder's tokenizer and an account", async () => {
  const data = await prepare({ kind: "classification" }, [...mails, { text: " ", label: "ham" }]);
  expect(data.task).toMatchObject({ labels: ["ham", "spam"], positive: 1, head: "sequence-classification" });
  expect(data.summary.dropped).toEqual({ empty: 1, tooLong: 0 });
  expect(data.train.sampleCount + (data.validation?.sampleCount ?? 0)).toBe(20);
  expect(JSON.parse(data.tokenizerConfigJson)).toMatchObject({
    cls_token: "[CLS]",
    pad_token: "[PAD]",
    mask_token: "[MASK]",
  });
  const { specials, vocabSize, padId } = data.tokenizer;
  expect([...specials.keys()]).toEqual(["[PAD]", "[CLS]", "[SEP]", "[MASK]"]);
  expect(padId).toBe(specials.get("[PAD]"));
  expect(vocabSize).toBeLessThanOrEqual(280);
  const ids = Array.from(data.train.sample(0, 0).ids);
  expect([ids[0], ids.at(-1)]).toEqual([specials.get("[CLS]"), specials.get("[SEP]")]);
  expect(data.tokenizer.decode(ids.slice(1, -1))).toMatch(/^mail number \d+$/);
  expect(notices.join("\n")).toMatch(
    /20 samples kept, 1 dropped \(1 empty\), \d+ truncated to 16 tokens; 20 targets in/,
  );
});

test("samples come from the cache at the second start, and are made again when what they are made from changes", async () => {
  const first = await prepare({ kind: "classification" }, mails);
  const again = await prepare({ kind: "classification" }, mails);
  expect(again.summary).toMatchObject({ cached: true, digest: first.summary.digest });
  const others: [Record<string, object>, object][] = [
    [{ train: { sequence_length: 8 } }, { kind: "classification" }],
    [{}, { kind: "classification", labels: ["spam", "ham"] }],
    [{}, { kind: "classification", labels: ["ham", "spam", "eggs"] }],
  ];
  for (const [changes, task] of others) {
    const other = await prepare(task, mails, changes);
    expect(other.summary.cached, JSON.stringify(task)).toBe(false);
  }
});

test.each([
  ["classification", mails],
  [
    "instruction",
    Array.from({ length: 8 }, (_, i) => ({
      messages: [
        { role: "user", content: `what is ${i}?` },
        { role: "assistant", content: `it is ${i}` },
      ],
    })),
  ],
] as const)(
  "a run of a %s that goes on where it was takes its samples from the cache, without its lines",
  async (kind, lines) => {
    const first = await prepare({ kind }, lines);
    const tokenizer = { json: first.tokenizer.json, configJson: first.tokenizerConfigJson, source: "run" };
    const again = await prepare({ kind }, [{ text: "something else" }], {}, { tokenizer, made: first.origin });
    expect(again.summary).toEqual({ ...first.summary, cached: true, seconds: expect.any(Number) as number });
    expect(again.task).toEqual(first.task);
    expect(again.tokenizerConfigJson).toBe(first.tokenizerConfigJson);
    expect(again.train.sample(0, 0)).toEqual(first.train.sample(0, 0));
    expect(again.train.sampleCount).toBe(first.train.sampleCount);
    expect("sourceOf" in again.train).toBe(false);
  },
);

test("the labels of the model's head are taken when none are named, and a model without token types gets none", async () => {
  const model = { labels: ["spam", "ham"], tokenTypes: 1 };
  const pairs = mails.map((mail) => ({ ...mail, answer: "yes" }));
  const changes = { data: { pair_field: "answer" } };
  const data = await prepare({ kind: "classification" }, pairs, changes, { model });
  expect(data.task).toMatchObject({ labels: ["spam", "ham"] });
  expect(data.train.sample(0, 0).types).toBeUndefined();
  const withTypes = await prepare({ kind: "classification" }, pairs, changes);
  expect(Array.from(withTypes.train.sample(0, 0).types ?? [])).toContain(1);
});

test("every label has its share in both parts", async () => {
  const { train, validation } = await prepare({ kind: "classification" }, mails);
  const targets = (dataset: typeof train | null): number[] =>
    Array.from({ length: dataset?.sampleCount ?? 0 }, (_, i) => dataset?.sample(i, i).targets[0] ?? -1);
  expect(targets(validation).filter((label) => label === 1)).toHaveLength(1);
  expect(targets(train).filter((label) => label === 1)).toHaveLength(4);
});

test("conversations leave their chat template in the tokenizer's config", async () => {
  const lines = Array.from({ length: 4 }, (_, i) => ({
    messages: [
      { role: "user", content: `question ${i}` },
      { role: "assistant", content: `answer ${i}` },
    ],
  }));
  const data = await prepare({ kind: "instruction" }, lines, { train: { sequence_length: 64 } });
  const config = JSON.parse(data.tokenizerConfigJson) as Record<string, unknown>;
  expect(config["chat_template"]).toContain("### {{ message['role'] | capitalize }}");
  expect(data.train).toMatchObject({ sampleCount: 3, causal: true, targetsPerRow: "tokens" });
});
