import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { finish, readSteps, readValidations, temporaryFolder } from "../support/cli.ts";
import { refusal } from "../support/refusal.ts";

interface TaskRun {
  readonly folder: string;
  /** Trains to the end; the output and the run's folder. */
  train(name: string, ...args: string[]): Promise<{ run: string; output: string }>;
  readonly config: string;
}

/** A model of 30 thousand parameters for `task` on `lines`. */
async function taskRun(
  task: object,
  lines: readonly object[],
  settings: Record<string, object> = {},
): Promise<TaskRun> {
  const folder = await temporaryFolder();
  const source = join(folder, "data.jsonl");
  await writeFile(source, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const config = join(folder, "task.yaml");
  const { data, train, ...rest } = settings;
  await writeFile(
    config,
    JSON.stringify({
      task,
      model: { layers: 2, hidden: 32, heads: 2, positions: 32 },
      tokenizer: { vocab_size: 300 },
      data: { source, near_duplicates: "keep", validation_fraction: 0.2, cache: join(folder, "cache"), ...data },
      train: {
        ...{ steps: 20, global_batch: 8, microbatch: 4, sequence_length: 32, learning_rate: 0.005 },
        ...{ schedule: "constant", eval_every: 10, ...train },
      },
      cluster: { threads: 1 },
      checkpoint: { dir: join(folder, "runs"), every: 10 },
      metrics: { enabled: false },
      ...rest,
    }),
  );
  return {
    folder,
    config,
    async train(name, ...args) {
      const result = await finish(["train", config, "--set", `checkpoint.name=${name}`, ...args]);
      expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
      return { run: join(folder, "runs", name), output: result.stdout };
    },
  };
}

const animals = ["cat", "dog", "horse", "sheep"];
const tools = ["hammer", "saw", "drill", "wrench"];
const kinds = [
  ["animal", animals],
  ["tool", tools],
] as const;

/** Sixty texts of one to three words, sorted by what the words are. */
const sorting = Array.from({ length: 60 }, (_, i) => {
  const [label, words] = kinds[i % 2]!;
  const count = 1 + (i % 3);
  return { text: Array.from({ length: count }, (_, k) => words[(i * 7 + k * 3 + (i >> 2)) % 4]).join(" and "), label };
});

async function losses(run: string): Promise<number[]> {
  return (await readSteps(run)).map(({ loss }) => loss);
}

function worstRelative(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]!) / Math.abs(value)));
}

async function configOf(run: string): Promise<unknown> {
  return JSON.parse(await readFile(join(run, "latest/config.json"), "utf8"));
}

test("a classifier learns the same with one worker, with two, and when it is interrupted", async () => {
  const task = await taskRun({ kind: "classification" }, sorting, { train: { steps: 40 } });
  const one = await task.train("one", "--workers", "1");
  const two = await task.train("two", "--workers", "2");
  expect(worstRelative(await losses(one.run), await losses(two.run))).toBeLessThan(1e-5);

  const half = await task.train("half", "--workers", "2", "--set", "train.steps=20");
  const resumed = await finish(["train", task.config, "--resume", half.run, "--workers", "2"]);
  expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
  expect(await losses(half.run)).toEqual(await losses(two.run));

  const found = await readValidations(two.run);
  const [before, after] = [found[0]!, found.at(-1)!];
  expect(before).toMatchObject({ tokens: 12 }); // one target for each of the twelve texts
  expect(before.loss).toBeGreaterThan(0.5);
  expect(after.loss).toBeLessThan(0.2);
  expect(await configOf(two.run)).toMatchObject({
    architectures: ["BertForSequenceClassification"],
    id2label: { 0: "animal", 1: "tool" },
    label2id: { animal: 0, tool: 1 },
    problem_type: "single_label_classification",
  });
  expect(two.output).toContain("data: 2 labels: animal, tool");
  expect(two.output).toMatch(/60 samples kept, 0 dropped, 0 truncated to 32 tokens; 60 targets in [\d,]+ tokens/);
});

test("an encoder learns to fill in, the same at any number of workers, and becomes a classifier with a new head", async () => {
  const texts = Array.from({ length: 30 }, (_, i) => ({
    text: Array.from({ length: 12 }, (_, k) => [...animals, ...tools][(i + k * (1 + (i % 3))) % 8]).join(" "),
  }));
  const filling = await taskRun({ kind: "masked-lm" }, texts, { train: { steps: 12 } });
  const one = await filling.train("one", "--workers", "1");
  const two = await filling.train("two", "--workers", "2");
  expect(worstRelative(await losses(one.run), await losses(two.run))).toBeLessThan(1e-5);
  const found = await readValidations(two.run);
  expect(found.at(-1)!.loss).toBeLessThan(found[0]!.loss - 0.5);
  expect(await configOf(two.run)).toMatchObject({ architectures: ["BertForMaskedLM"] });

  const model = { from: join(two.run, "latest") };
  const sorter = await taskRun(
    { kind: "classification", multi_label: true },
    sorting.map(({ text, label }) => ({ text, label: [label] })),
    {
      model,
      tokenizer: {},
      train: { steps: 2 },
    },
  );
  const sorted = await sorter.train("sorter");
  expect(sorted.output).toContain("has no sequence-classification head; a new one starts from the seed");
  expect(sorted.output).toMatch(/tensors of a new head \(bert\.pooler\.dense\.weight.*start from the seed/);
  expect((await readValidations(sorted.run))[0]).toMatchObject({ tokens: 24 }); // two labels for each of twelve texts
  expect(await configOf(sorted.run)).toMatchObject({ problem_type: "multi_label_classification" });
});

test("an adapter with a new head folds into a model that has another head", async () => {
  const train = { steps: 2, eval_every: 0 };
  const filling = await taskRun({ kind: "masked-lm" }, sorting, { train });
  const model = { from: join((await filling.train("base")).run, "latest") };
  const task = await taskRun({ kind: "classification" }, sorting, { model, tokenizer: {}, train, lora: { rank: 2 } });
  const { run } = await task.train("adapter");
  const out = join(task.folder, "merged");
  const merged = await finish(["merge", run, "--out", out]);
  expect(merged, merged.stderr).toMatchObject({ code: 0 });
  expect(JSON.parse(await readFile(join(out, "config.json"), "utf8"))).toMatchObject({
    architectures: ["BertForSequenceClassification"],
    id2label: { 0: "animal", 1: "tool" },
  });
});

test("a tagger learns which words are which", async () => {
  const lines = sorting.map(({ text }) => {
    const tokens = text.split(" ");
    return { tokens, tags: tokens.map((word) => (word === "and" ? "O" : animals.includes(word) ? "ANIMAL" : "TOOL")) };
  });
  const task = await taskRun({ kind: "tagging" }, lines, { train: { steps: 30 } });
  const { run } = await task.train("tags", "--workers", "2");
  const found = await readValidations(run);
  expect(found.at(-1)!.loss).toBeLessThan(0.3);
  expect(await configOf(run)).toMatchObject({
    architectures: ["BertForTokenClassification"],
    id2label: { 0: "ANIMAL", 1: "O", 2: "TOOL" },
  });
});

test("a decoder learns answers, and writes the one that it was taught", async () => {
  const lines = Array.from({ length: 40 }, (_, i) => ({
    prompt: `${animals[i % 4]}?`,
    completion: ` ${tools[i % 4]}`,
  }));
  const task = await taskRun({ kind: "instruction" }, lines, { train: { steps: 60, learning_rate: 0.01 } });
  const { run, output } = await task.train("answers", "--workers", "2");
  expect(output).toMatch(/40 samples kept, 0 dropped, 0 truncated to 32 tokens; [\d,]+ targets in [\d,]+ tokens/);
  expect((await readValidations(run)).at(-1)!.loss).toBeLessThan(0.4);
  const said = await finish(["generate", run, "--prompt", "dog?", "--tokens", "20", "--temperature", "0"]);
  expect(said, said.stderr).toMatchObject({ code: 0 });
  expect(said.stdout.trim()).toBe("dog? saw"); // and then the end of text
});

describe("data that a task can't learn from", () => {
  const line = (value: object): string => JSON.stringify(value);
  const good = [line({ text: "a", label: "x" }), line({ text: "b", label: "y" })];
  const classification = { kind: "classification" };

  test.each<[string, object, string[], RegExp]>([
    [
      "a label out of range",
      { ...classification, labels: ["x", "y"] },
      [...good, line({ text: "c", label: 2 })],
      /data\.jsonl:3: "label" is 2, out of range: there are 2 labels, 0 to 1; correct the line$/,
    ],
    [
      "an unknown label",
      { ...classification, labels: ["x", "y"] },
      [...good, line({ text: "c", label: "egg" })],
      /data\.jsonl:3: "label" is "egg", none of the 2 labels \(x, y\); correct the line$/,
    ],
    ["no label", classification, [...good, line({ text: "c" })], /data\.jsonl:3: no field "label"; it has "text"/],
    ["one label only", classification, good.slice(0, 1), /needs 2 or more labels, and there is 1 \(x\)/],
    ["a line that is not JSON", classification, [...good, "{"], /data\.jsonl:3: not JSON: /],
    ["nothing", classification, [], /0 lines in \.jsonl files, and task\.kind classification learns from them/],
    [
      "tags that do not fit the words",
      { kind: "tagging" },
      [line({ tokens: ["a", "b"], tags: ["x", "y"] }), line({ tokens: ["a", "b"], tags: ["x"] })],
      /data\.jsonl:2: "tags" has 1 entries for 2 of "tokens"/,
    ],
    [
      "answers that never fit",
      { kind: "instruction" },
      Array.from({ length: 3 }, () => line({ prompt: "a", completion: "b ".repeat(90) })),
      /none of 2 lines gives a sample to train on: 0 are empty and 2 have an answer longer than train\.sequence_length 32/,
    ],
    [
      "a form that is not known",
      { kind: "instruction" },
      [line({ question: "a", answer: "b" })],
      /data\.jsonl:1: it is of no known form: .*this line has question, answer/,
    ],
  ])("%s", async (_, task, lines, expected) => {
    const { config, folder } = await taskRun(task, []);
    await writeFile(join(folder, "data.jsonl"), lines.map((text) => `${text}\n`).join(""));
    expect(await refusal(["train", config], { code: expected.source.includes("2 or more") ? 2 : 1 })).toMatch(expected);
  });

  test("text files", async () => {
    const { config, folder } = await taskRun(classification, sorting);
    const path = join(folder, "a.txt");
    await writeFile(path, "some text");
    expect(await refusal(["train", config, "--set", `data.source=${path}`])).toMatch(
      /a\.txt: task\.kind classification learns from \.jsonl files, an object on each line$/,
    );
  });
});
