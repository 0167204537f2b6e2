import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { configSchema } from "../../../common/config/schema.ts";
import { loadDocuments } from "../../../coordinator/data/documents.ts";
import { prepareData, type PrepareOptions } from "../../../coordinator/data/prepare.ts";
import type { SampleDataset } from "../../../coordinator/data/samples.ts";
import { trainTokenizerCommand } from "../../../coordinator/data/train-tokenizer.ts";

let folder: string;
let notices: string[];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ringtune-prepare-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  notices = [];
  const documents = await loadDocuments({ source: "sotu", text_field: "text" });
  const lines = documents.slice(0, 20).map(({ text }) => JSON.stringify({ text: text.slice(0, 800) }));
  writeFileSync(join(folder, "data.jsonl"), lines.join("\n"));
});

interface Changes {
  readonly data?: object;
  readonly tokenizer?: object;
  readonly model?: object;
  readonly train?: object;
}

function configOf({ data, tokenizer, model, train }: Changes = {}) {
  return configSchema.parse({
    data: { source: join(folder, "data.jsonl"), validation_fraction: 0.1, cache: join(folder, "cache"), ...data },
    tokenizer: { vocab_size: 350, ...tokenizer },
    train: { sequence_length: 32, ...train },
    model: { ...model },
  });
}

const prepare = (changes: Changes = {}, options: Partial<PrepareOptions> = {}) =>
  prepareData(configOf(changes), { onNotice: (line) => notices.push(line), ...options });

function tokensIn(dataset: SampleDataset | null): number[] {
  const found: number[] = [];
  for (let i = 0; i < (dataset?.sampleCount ?? 0); i++) found.push(...Array.from(dataset?.sample(i, i).targets ?? []));
  return found;
}

test("turns documents into samples that decode to the documents", async () => {
  const { train, validation, tokenizer, summary } = await prepare();
  const documents = await loadDocuments({ source: join(folder, "data.jsonl"), text_field: "text" });
  const texts = [train, validation].flatMap((dataset) => tokenizer.decode(tokensIn(dataset)).split("<|endoftext|>"));
  const byText = (a: string, b: string): number => (a < b ? -1 : 1);
  expect(texts.filter((text) => text !== "").sort(byText)).toEqual(documents.map(({ text }) => text).sort(byText));
  expect(summary).toMatchObject({ documents: { train: 18, validation: 2 }, cached: false });
  expect(summary.characters).toEqual({ train: 14_400, validation: 1600 });
  expect(summary.tokens.train).toBe(train.targetCount);
  expect(tokenizer.vocabSize).toBe(350);
  expect(notices.join("\n")).toMatch(
    /tokenizer: 350 tokens, trained in .*\ndata: 18 documents to train on, 2 to validate \(16,000 characters\)\ndata: [\d,]+ tokens to train on, [\d,]+ to validate \([\d,]+ tokens\/s\)\ndata: [\d,]+ samples kept, 0 dropped, 0 truncated to 32 tokens; [\d,]+ targets in [\d,]+ tokens \(100%\)/,
  );
});

test("takes tokenizer and tokens from the cache at the second start, and gives the same", async () => {
  const first = await prepare();
  const second = await prepare();
  expect(second.summary).toEqual({ ...first.summary, cached: true, seconds: expect.any(Number) as number });
  expect(second.tokenizer.json).toBe(first.tokenizer.json);
  expect(tokensIn(second.train)).toEqual(tokensIn(first.train));
  expect(tokensIn(second.validation)).toEqual(tokensIn(first.validation));
  expect(notices.filter((line) => line.includes("from the cache"))).toHaveLength(2);
});

test.each<[string, Changes]>([
  ["the seed", { train: { seed: 5 } }],
  ["the validation fraction", { data: { validation_fraction: 0.5 } }],
  ["the vocabulary's size", { tokenizer: { vocab_size: 351 } }],
])("makes everything again when %s changes", async (_, changes) => {
  const { summary } = await prepare();
  const other = await prepare(changes);
  expect(other.summary.cached).toBe(false);
  expect(other.summary.digest).not.toBe(summary.digest);
});

test("makes everything again when a document changes, and not when only the sequence length does", async () => {
  await prepare();
  expect((await prepare({ train: { sequence_length: 16 } })).summary.cached).toBe(true);
  writeFileSync(join(folder, "data.jsonl"), '{"text": "something"}\n{"text": "else"}');
  expect((await prepare()).summary.cached).toBe(false);
});

test("a run that goes on where it was takes its tokens from the cache, without its documents, as long as they are there", async () => {
  const first = await prepare();
  const { json } = first.tokenizer;
  const own = { tokenizer: { json, configJson: first.tokenizerConfigJson, source: "run" }, made: first.origin };
  writeFileSync(join(folder, "data.jsonl"), '{"text": "something"}\n{"text": "else"}');
  const again = await prepare({}, own);
  expect(again.summary).toEqual({ ...first.summary, cached: true, seconds: expect.any(Number) as number });
  expect(again.origin).toEqual(first.origin);
  expect(tokensIn(again.train)).toEqual(tokensIn(first.train));
  expect(tokensIn(again.validation)).toEqual(tokensIn(first.validation));
  expect([first, again].map(({ train }) => train.sourceOf === undefined)).toEqual([false, true]);
  rmSync(join(folder, "cache"), { recursive: true });
  expect((await prepare({}, own)).summary.digest).not.toBe(first.summary.digest);
});

test("makes a damaged cache again with a notice, and goes on without a cache", async () => {
  const { summary } = await prepare();
  for (const name of readdirSync(join(folder, "cache")))
    writeFileSync(join(folder, "cache", name), "ringtune-cache 1 9");
  expect((await prepare()).summary).toMatchObject({ cached: false, digest: summary.digest });
  expect(notices.filter((line) => line.includes("is damaged"))).toHaveLength(2);
  notices = [];
  writeFileSync(join(folder, "file"), "in the way");
  expect((await prepare({ data: { cache: join(folder, "file") } })).summary.digest).toBe(summary.digest);
  expect(notices.filter((line) => line.includes("cache: nothing kept"))).toHaveLength(2);
});

test("uses the run's own tokenizer when one is given, before the config's", async () => {
  const out = join(folder, "tokenizer");
  const onNotice = (line: string) => void notices.push(line);
  await trainTokenizerCommand({ sources: [join(folder, "data.jsonl")], vocabSize: 300, out, onNotice });
  const named = await prepare({ tokenizer: { from: out } });
  expect(named.tokenizer.vocabSize).toBe(300);
  expect(named.tokenizerConfigJson).toBe(named.tokenizer.configJson);
  const trained = await prepare();
  expect(trained.summary.digest).not.toBe(named.summary.digest);
  const { json } = trained.tokenizer;
  const resumed = await prepare({ tokenizer: { from: out } }, { tokenizer: { json, source: "the run" } });
  expect(resumed.tokenizer.vocabSize).toBe(350);
});

test("uses the tokenizer of the model that training starts from, and insists on it", async () => {
  const out = join(folder, "model");
  await trainTokenizerCommand({
    sources: [join(folder, "data.jsonl")],
    vocabSize: 280,
    out,
    onNotice: () => undefined,
  });
  expect((await prepare({ model: { from: out } })).tokenizer.vocabSize).toBe(280);
  await expect(prepare({ model: { from: folder } })).rejects.toMatchObject({
    code: "tokenizer_invalid",
    message: expect.stringContaining("holds no tokenizer.json") as string,
  });
});

test("trains on every document when nothing is kept for validation", async () => {
  const { validation, summary } = await prepare({ data: { validation_fraction: 0 } });
  expect(validation).toBeNull();
  expect(summary).toMatchObject({ documents: { train: 20, validation: 0 }, tokens: { validation: 0 } });
});

test("works for one small text file, with a smaller vocabulary, and says so", async () => {
  const source = join(folder, "one.txt");
  writeFileSync(source, "The cat sat on the mat.\n\nThe dog sat on the log.\n\nThe end.\n");
  const { train, validation, tokenizer } = await prepare({ data: { source }, tokenizer: { vocab_size: 4096 } });
  expect(train.targetCount).toBeGreaterThan(10);
  expect(validation?.targetCount).toBeGreaterThan(1);
  expect(tokenizer.vocabSize).toBeLessThan(300);
  expect(notices.join("\n")).toMatch(/there is 1 document[\s\S]*tokenizer: 2\d\d tokens instead of 4096, trained/);
});

test("writes a tokenizer_config.json that names the end-of-text token", async () => {
  const { tokenizerConfigJson } = await prepare({ model: { positions: 64 } });
  expect(JSON.parse(tokenizerConfigJson)).toMatchObject({
    tokenizer_class: "PreTrainedTokenizerFast",
    eos_token: "<|endoftext|>",
    model_max_length: 64,
  });
});

test("never lets a document's text become the end of text", async () => {
  const source = join(folder, "tricky.txt");
  writeFileSync(source, "before <|endoftext|> after ".repeat(20));
  const { train, tokenizer } = await prepare({ data: { source, validation_fraction: 0 } });
  expect(tokensIn(train).filter((id) => id === tokenizer.eosId)).toHaveLength(1); // the one that ends the document
});

test("stops when it is cancelled", async () => {
  const reason = new Error("enough");
  await expect(prepare({}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("trains a tokenizer from the command line, and does not replace one unless told", async () => {
  const options = { sources: [join(folder, "data.jsonl")], vocabSize: 300, out: join(folder, "out") };
  const onNotice = (line: string) => void notices.push(line);
  const { path, vocabSize } = await trainTokenizerCommand({ ...options, onNotice });
  expect(vocabSize).toBe(300);
  expect(path).toBe(join(folder, "out", "tokenizer.json"));
  expect(notices.at(-1)).toMatch(/tokenizer: 300 tokens, trained on 20 documents in /);
  expect(readdirSync(join(folder, "out")).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  await expect(trainTokenizerCommand({ ...options, vocabSize: 310, onNotice })).rejects.toMatchObject({
    code: "usage",
  });
  expect((await trainTokenizerCommand({ ...options, vocabSize: 310, force: true, onNotice })).vocabSize).toBe(310);
  expect((await prepare({ tokenizer: { from: path } })).tokenizer.vocabSize).toBe(310);
});
