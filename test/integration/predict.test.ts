// `ringtune predict` and `ringtune evaluate` as real processes, on the golden models with PyTorch's float64 logits: rows are
// "[CLS] a [SEP] b [SEP]", so a tokenizer of whole words gives exactly the ids that the reference was computed with.

import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { finish, temporaryFolder } from "../support/cli.ts";
import { sentenceOf } from "../support/refusal.ts";

const specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"];
const name = (id: number): string => specials[id] ?? `w${id}`;

/** The golden model with a tokenizer in which w45 is token 45. */
async function golden(model: "bert-seqcls" | "bert-tokcls", labels?: string[]): Promise<string> {
  const folder = await temporaryFolder();
  const from = join(packageRoot, "test/golden", model);
  await copyFile(join(from, "model.safetensors"), join(folder, "model.safetensors"));
  const config = JSON.parse(await readFile(join(from, "config.json"), "utf8")) as Record<string, unknown>;
  if (labels !== undefined) config["id2label"] = { ...labels };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  const vocab = Object.fromEntries(Array.from({ length: 96 }, (_, id) => [name(id), id]));
  const tokenizer = {
    added_tokens: specials.map((content, id) => ({ id, content, special: true })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: { type: "BertProcessing", sep: ["[SEP]", 2], cls: ["[CLS]", 1] },
    decoder: null,
    model: {
      type: "WordPiece",
      vocab,
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
    },
  };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  const names = { eos_token: "[SEP]", pad_token: "[PAD]" };
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify(names));
  return folder;
}

interface Expected {
  readonly input_ids: number[][];
  readonly labels: number[];
  readonly loss: number;
  readonly logits: number[][];
}

const expected = JSON.parse(
  await readFile(join(packageRoot, "test/golden/bert-seqcls/expected.json"), "utf8"),
) as Expected;

/** The two texts of each row. */
const pairs = expected.input_ids.map((ids) => {
  const first = ids.indexOf(2);
  const words = (from: number, to: number): string => ids.slice(from, to).map(name).join(" ");
  return { text: words(1, first), other: words(first + 1, ids.indexOf(2, first + 1)) };
});

async function answers(args: readonly string[]): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await finish(args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("a classifier", () => {
  test("gives PyTorch's probabilities for pairs of texts from a file, a JSON object a line", async () => {
    const folder = await golden("bert-seqcls");
    const file = join(folder, "pairs.jsonl");
    await writeFile(file, pairs.map((pair) => JSON.stringify(pair)).join("\n"));
    const found = await answers(["predict", folder, "--file", file, "--pair-field", "other", "--batch", "2"]);
    for (const [i, logits] of expected.logits.entries()) {
      const powers = logits.map(Math.exp);
      const sum = powers.reduce((total, power) => total + power, 0);
      const probabilities = found[i]?.["probabilities"] as Record<string, number>;
      for (const [label, power] of powers.entries()) {
        expect(Math.abs(probabilities[`LABEL_${label}`]! - power / sum)).toBeLessThan(1e-5);
      }
      expect(found[i]).toMatchObject({ text: pairs[i]?.text, pair: pairs[i]?.other, label: "LABEL_1" });
    }
  });

  test("is measured: the reference loss, metrics by hand, and which label is taken for which", async () => {
    const folder = await golden("bert-seqcls", ["red", "green", "blue"]);
    const file = join(folder, "data.jsonl");
    const names = ["red", "green", "blue"];
    const lines = pairs.map((pair, i) => JSON.stringify({ ...pair, label: names[expected.labels[i]!] }));
    await writeFile(file, lines.join("\n"));
    const [found] = await answers(["evaluate", folder, "--data", file, "--pair-field", "other"]);
    expect(Math.abs((found?.["loss"] as number) / expected.loss - 1)).toBeLessThan(1e-5);
    // green is said three times, and right once.
    expect(found).toMatchObject({
      examples: 3,
      truncated: 0,
      accuracy: 1 / 3,
      f1: 1 / 6,
      f1_micro: 1 / 3,
      precision: 1 / 9,
      recall: 1 / 3,
      classes: { green: { precision: 1 / 3, recall: 1, f1: 0.5, support: 1 }, red: { f1: 0, support: 1 } },
      labels: names,
      confusion: [
        [0, 1, 0],
        [0, 1, 0],
        [0, 1, 0],
      ],
    });
  });

  test("names the line and the labels for a label that the model does not have, and says what it can't do", async () => {
    const folder = await golden("bert-seqcls");
    const file = join(folder, "data.jsonl");
    await writeFile(
      file,
      `${JSON.stringify({ text: "w5", label: 1 })}\n\n${JSON.stringify({ text: "w6", label: "ham" })}\n`,
    );
    const wrong = await finish(["evaluate", folder, "--data", file]);
    expect(sentenceOf(wrong, 1, "ringtune evaluate")).toMatch(
      /data\.jsonl:3: "label" is "ham", none of the model's 3 labels \(LABEL_0, LABEL_1, LABEL_2\)$/,
    );
    const generated = await finish(["generate", folder, "--prompt", "w5"]);
    expect(sentenceOf(generated, 1, "ringtune generate")).toMatch(/has a sequence-classification head/);
  });
});

test("a tagger gives a tag for each word, joins tags to entities, and says when a text is cut", async () => {
  const labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];
  const folder = await golden("bert-tokcls", labels);
  const { code, stdout, stderr } = await finish(["predict", folder, "w62 w85 w56 w24", "w9", "--max-length", "5"]);
  expect(code).toBe(0);
  expect(stderr).toBe("ringtune predict: 1 of the texts are longer than 5 tokens, and their ends were not looked at\n");
  const [first, second] = stdout
    .trim()
    .split("\n")
    .map(
      (line) => JSON.parse(line) as { tokens: string[]; tags: string[]; probabilities: number[]; entities: unknown[] },
    );
  expect(first?.tokens).toEqual(["w62", "w85", "w56", "w24"]);
  expect(first?.tags).toHaveLength(3); // and [CLS] and [SEP]
  expect(second?.tags).toHaveLength(1);
  expect(first?.tags.every((tag) => labels.includes(tag))).toBe(true);
  const marked = first?.tags.filter((tag) => tag !== "O").length ?? 0;
  expect(first?.entities.length ?? 0).toBeLessThanOrEqual(marked);
  expect(first?.probabilities.every((probability) => probability > 0.2 && probability <= 1)).toBe(true);

  // Measured against its own answers it is perfect.
  const file = join(folder, "data.jsonl");
  await writeFile(file, JSON.stringify({ tokens: first?.tokens.slice(0, 3), tags: first?.tags }));
  const [measured] = await answers(["evaluate", folder, "--data", file]);
  expect(measured).toMatchObject({ accuracy: 1, examples: 1 });
});
