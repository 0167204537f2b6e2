import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { configJsonSchema, fields, nearestPath, sections } from "../../../common/config/fields.ts";
import { editDistance, nearest } from "../../../common/config/nearest.ts";
import { configReference } from "../../../common/config/reference.ts";
import { configSchema } from "../../../common/config/schema.ts";
import {
  parameterCount,
  resolveGpt2Config,
  resolveModelConfig,
  sizeNames,
  sizes,
} from "../../../common/config/sizes.ts";
import { resolveTask } from "../../../common/task.ts";

test("every key and section is described", () => {
  for (const field of fields.values()) expect(field.description, field.path).toMatch(/\S.*\.$/);
  for (const section of sections.values()) if (section.path) expect(section.description, section.path).toMatch(/\.$/);
  expect(fields.size).toBeGreaterThan(40);
});

test("the JSON Schema has descriptions and defaults and asks for nothing", () => {
  const schema = configJsonSchema();
  expect(schema["$schema"]).toContain("2020-12");
  expect(schema["required"]).toBeUndefined();
  expect(schema["additionalProperties"]).toBe(false);
  const rate = schema.properties?.["train"]?.properties?.["learning_rate"];
  expect(rate).toMatchObject({ type: "number", default: 0.001, exclusiveMinimum: 0 });
  expect(JSON.stringify(schema)).not.toContain(String(Number.MAX_SAFE_INTEGER));
});

test("docs/config.md is what `ringtune config docs` prints", async () => {
  const path = new URL("../../../docs/config.md", import.meta.url);
  expect(await readFile(path, "utf8"), "stale: npx ringtune config docs > docs/config.md").toBe(configReference());
});

describe("the nearest key", () => {
  test.each([
    ["train.learning_rat", "train.learning_rate"],
    ["train.leaning-rate", "train.learning_rate"],
    ["learning_rate", "train.learning_rate"],
    ["weight_decay", "train.optimizer.weight_decay"],
    ["train.vocab_size", "tokenizer.vocab_size"],
    ["modle", "model"],
    ["model.n_layer", "model.layers"],
    ["cluster.worker", "cluster.workers"],
    ["checkpoint.evrey", "checkpoint.every"],
    ["completely.different", undefined],
  ])("%s -> %s", (unknown, meant) => {
    expect(nearestPath(unknown)).toBe(meant);
  });

  test("other tools' names lead to keys that exist", () => {
    for (const name of [
      "lora_r",
      "early_stopping_patience",
      "optim",
      "lr",
      "batch_size",
      "n_layer",
      "block_size",
      "grad_clip",
      "output_dir",
    ]) {
      expect(fields.has(nearestPath(name) ?? "")).toBe(true);
    }
  });

  test("any key with one letter dropped, doubled or swapped is found again", () => {
    const keys = [...fields.keys()].filter((path) => path.slice(path.lastIndexOf(".") + 1).length >= 5);
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.nat(), fc.constantFrom("drop", "double", "swap"), (path, at, how) => {
        const start = path.lastIndexOf(".") + 1;
        const i = start + (at % (path.length - start - 1));
        const letters = [...path];
        if (how === "drop") letters.splice(i, 1);
        else if (how === "double") letters.splice(i, 0, letters[i] ?? "");
        else letters.splice(i, 2, letters[i + 1] ?? "", letters[i] ?? "");
        expect(nearestPath(letters.join(""))).toBe(path);
      }),
    );
  });

  test("distances count swaps once, and far words have no neighbour", () => {
    expect(editDistance("workers", "wrokers")).toBe(1);
    expect(editDistance("", "abc")).toBe(3);
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(nearest("xyzzy", ["steps", "epochs"])).toBeUndefined();
    expect(nearest("Steps", ["steps", "epochs"])).toBe("steps");
  });
});

describe("sizes", () => {
  test("have about the parameters that the documentation says", () => {
    const counts = sizeNames.map((name) => parameterCount(sizes[name], name === "gpt2" ? 50_257 : 4096) / 1e6);
    expect(counts.map((count) => Number(count.toPrecision(3)))).toEqual([0.754, 4.27, 11.3, 31, 124]);
    for (const name of sizeNames) expect(sizes[name].hidden % sizes[name].heads).toBe(0);
  });

  test("become Hugging Face's config.json of a GPT-2, with the numbers of the file above the size's", () => {
    const config = configSchema.parse({ model: { size: "nano", layers: 2 }, train: { steps: 1 } });
    expect(resolveGpt2Config(config, 500, 256)).toMatchObject({
      model_type: "gpt2",
      architectures: ["GPT2LMHeadModel"],
      vocab_size: 500,
      n_layer: 2,
      n_embd: 96,
      n_head: 4,
      n_positions: 256,
      eos_token_id: 256,
    });
    expect(() => resolveGpt2Config(config, 500, 500)).toThrow("outside the vocabulary");
  });

  const tokens = { vocabSize: 500, eosId: 499, padId: 496 };

  test("become a BERT for a task that decoders can't do, with its head, and its labels as transformers writes them", () => {
    const config = configSchema.parse({
      task: { kind: "classification" },
      model: { size: "nano" },
      train: { steps: 1 },
    });
    const task = resolveTask(config.task, ["ham", "spam"]);
    expect(resolveModelConfig(config, tokens, task)).toMatchObject({
      model_type: "bert",
      architectures: ["BertForSequenceClassification"],
      hidden_size: 96,
      intermediate_size: 384,
      max_position_embeddings: 256,
      vocab_size: 500,
      pad_token_id: 496,
      id2label: { 0: "ham", 1: "spam" },
      label2id: { ham: 0, spam: 1 },
      problem_type: "single_label_classification",
    });
    const several = configSchema.parse({ task: { kind: "classification", multi_label: true } });
    expect(resolveModelConfig(several, tokens, resolveTask(several.task, ["a"]))).toMatchObject({
      problem_type: "multi_label_classification",
    });
    const tagging = configSchema.parse({ task: { kind: "tagging" } });
    const tagger = resolveModelConfig(tagging, tokens, resolveTask(tagging.task, ["B", "O"]));
    expect(tagger).toMatchObject({ architectures: ["BertForTokenClassification"], id2label: { 0: "B", 1: "O" } });
    expect(tagger).not.toHaveProperty("problem_type");
    const masked = configSchema.parse({ task: { kind: "masked-lm" } });
    const filler = resolveModelConfig(masked, tokens, resolveTask(masked.task, []));
    expect(filler).toMatchObject({ architectures: ["BertForMaskedLM"] });
    expect(filler).not.toHaveProperty("id2label");
  });

  test("become what the file names, where the task leaves a choice", () => {
    for (const [architecture, type] of [
      [undefined, "gpt2"],
      ["llama", "llama"],
    ]) {
      const config = configSchema.parse({ task: { kind: "instruction" }, model: { architecture } });
      expect(resolveModelConfig(config, tokens, resolveTask(config.task, []))).toMatchObject({ model_type: type });
    }
  });
});
