// Which configs are models, what they imply, and what is refused and why.

import { expect, test } from "vitest";
import { readModelKind, withHead } from "../../../common/model-classes.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { ropeAngles } from "../../../worker/model/rope.ts";

const llama = {
  ...{ model_type: "llama", vocab_size: 50, hidden_size: 24, intermediate_size: 20, num_hidden_layers: 1 },
  ...{ num_attention_heads: 4, max_position_embeddings: 64 },
};
const bert = {
  ...{ model_type: "bert", vocab_size: 50, hidden_size: 24, intermediate_size: 20, num_hidden_layers: 1 },
  ...{ num_attention_heads: 4, max_position_embeddings: 64, architectures: ["BertForSequenceClassification"] },
};
const names = (json: object): string[] => createModel(json, "x").layout.specs.map(({ name }) => name);
const shapeOf = (json: object, name: string) =>
  createModel(json, "x").layout.specs.find((spec) => spec.name === name)?.shape;

test("Qwen2 has biases of queries, keys and values only, LLaMA where its config says so", () => {
  const biases = (json: object): string[] => names(json).filter((name) => name.endsWith("bias"));
  expect(biases(llama)).toEqual([]);
  expect(biases({ ...llama, model_type: "qwen2", num_key_value_heads: 2 })).toEqual(
    ["q", "k", "v"].map((part) => `model.layers.0.self_attn.${part}_proj.bias`),
  );
  expect(biases({ ...llama, attention_bias: true, mlp_bias: true })).toHaveLength(7);
});

test("fewer heads of keys and values, and heads of another width, shape the projections", () => {
  const json = { ...llama, num_key_value_heads: 2, head_dim: 10 };
  expect(shapeOf(json, "model.layers.0.self_attn.q_proj.weight")).toEqual([40, 24]);
  expect(shapeOf(json, "model.layers.0.self_attn.k_proj.weight")).toEqual([20, 24]);
  expect(shapeOf(json, "model.layers.0.self_attn.o_proj.weight")).toEqual([24, 40]);
  expect(names({ ...llama, tie_word_embeddings: true })).not.toContain("lm_head.weight");
});

test("a sliding window limits the sequence, where it is used", () => {
  const limit = (change: object): number => createModel({ ...llama, ...change }, "x").maxLength;
  expect(limit({ sliding_window: 16 })).toBe(64);
  expect(limit({ model_type: "mistral", num_key_value_heads: 4, sliding_window: 16 })).toBe(16);
  expect(limit({ model_type: "mistral", num_key_value_heads: 4, sliding_window: null })).toBe(64);
  expect(limit({ model_type: "qwen2", num_key_value_heads: 4, sliding_window: 16 })).toBe(64);
  const windowed = { model_type: "qwen2", num_key_value_heads: 4, sliding_window: 16, use_sliding_window: true };
  expect(limit(windowed)).toBe(16);
});

test("rotary angles follow theta, and are stretched as Llama 3.1 does", () => {
  const frequencies = (scaling: Parameters<typeof ropeAngles>[3]): number[] =>
    [...ropeAngles(8, 2, 10_000, scaling).sin.subarray(4)].map(Math.asin);
  const plain = frequencies({ rope_type: "default" });
  for (const [i, want] of [1, 0.1, 0.01, 0.001].entries()) expect(plain[i]).toBeCloseTo(want, 6);
  expect(frequencies({ rope_type: "linear", factor: 4 })[0]).toBeCloseTo(0.25, 6);
  // Wavelengths 6, 63, 628 and 6283 against 256 / 4 = 64 and 256 / 1 = 256: kept, all but kept, divided, divided.
  const scaled = frequencies({
    ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 256,
  });
  const smooth = (256 * 0.1) / (2 * Math.PI);
  const kept = Math.min(1, (smooth - 1) / 3);
  for (const [i, want] of [1, (1 - kept) * (0.1 / 8) + kept * 0.1, 0.01 / 8, 0.001 / 8].entries()) {
    expect(scaled[i]).toBeCloseTo(want, 6);
  }
});

test("RoBERTa counts positions from behind its padding token", () => {
  const roberta = { ...bert, model_type: "roberta", architectures: ["RobertaForMaskedLM"], pad_token_id: 1 };
  expect(createModel(roberta, "x").maxLength).toBe(62);
  expect(createModel(bert, "x").maxLength).toBe(64);
});

test("labels come from id2label, num_labels, or are two", () => {
  const head = (change: object) => createModel({ ...bert, ...change }, "x").head;
  expect(head({ id2label: { 0: "a", 1: "b", 2: "c" } })).toMatchObject({ labels: 3, multiLabel: false });
  expect(head({ num_labels: 5, problem_type: "multi_label_classification" })).toMatchObject({
    ...{ labels: 5, multiLabel: true },
  });
  expect(head({})).toMatchObject({ kind: "sequence-classification", labels: 2 });
  expect(() => head({ num_labels: 1 })).toThrow("it has 1 labels, sequence-classification needs 2 or more");
  expect(() => head({ problem_type: "regression" })).toThrow('problem_type is "regression": not');
});

test("a config is saved with all that it came with", () => {
  const json = { ...bert, id2label: { 0: "ham", 1: "spam" }, hidden_dropout_prob: 0.1, anything: ["else"] };
  expect(createModel(json, "x").config).toEqual(json);
});

test.each([
  [
    { ...llama, hidden_act: "gelu", rope_scaling: { rope_type: "yarn", factor: 2 } },
    'hidden_act is "gelu": not "silu"',
  ],
  [{ ...llama, rope_scaling: { rope_type: "yarn", factor: 2 } }, "is not one of default, linear and llama3"],
  [{ ...llama, num_key_value_heads: 3 }, "num_key_value_heads is 3, which does not divide num_attention_heads 4"],
  [{ ...llama, hidden_size: 25 }, "hidden_size is 25, which num_attention_heads 4 does not divide"],
  [{ ...llama, head_dim: 5 }, "head_dim is 5, which is odd"],
  [{ ...llama, partial_rotary_factor: 0.5 }, "partial_rotary_factor is 0.5"],
  [{ ...llama, vocab_size: 100_000_000 }, "billion parameters, the most is 2.1 billion"],
  [{ ...llama, architectures: ["LlamaForSequenceClassification"] }, "supported for llama are LlamaForCausalLM"],
  [{ ...bert, architectures: ["BertModel"] }, "is of class BertModel; supported for bert are BertForMaskedLM"],
  [{ ...bert, architectures: undefined }, "names no class in architectures"],
  [{ ...bert, position_embedding_type: "relative_key" }, 'position_embedding_type is "relative_key"'],
  [{ ...bert, is_decoder: true }, "is_decoder is true"],
  [{ model_type: "t5" }, 'x has model_type "t5"; supported are gpt2, llama, mistral, qwen2, bert'],
  [[], "x has no model_type"],
])("refuses %j", (json, message) => {
  expect(() => createModel(json, "x")).toThrow(message);
});

test("another head is another class", () => {
  const tagging = withHead(bert, "token-classification", "x");
  expect(readModelKind(tagging, "x")).toEqual({ modelType: "bert", head: "token-classification" });
  expect(() => withHead(bert, "causal-lm", "x")).toThrow("which has no head causal-lm; it has masked-lm");
});
