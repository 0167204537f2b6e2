import { expect, test } from "vitest";
import { gpt2Layout, parseGpt2Config } from "../../../worker/model/gpt2-config.ts";
import { goldenNames, readGolden } from "./golden.ts";

const minimal = { model_type: "gpt2", vocab_size: 50, n_positions: 12, n_embd: 24, n_layer: 2, n_head: 3 };

test.each(goldenNames)("lays out exactly the tensors of a Hugging Face checkpoint: %s", (name) => {
  const { model, header } = readGolden(name);
  const shapes = Object.fromEntries(model.layout.specs.map(({ name, shape }) => [name, shape]));
  expect(shapes).toEqual(Object.fromEntries(Object.entries(header).map(([name, { shape }]) => [name, shape])));
});

test("has a head of its own only when embeddings are not tied", () => {
  const names = (json: object): string[] => gpt2Layout(parseGpt2Config(json, "x")).specs.map(({ name }) => name);
  expect(names(minimal)).not.toContain("lm_head.weight");
  expect(names({ ...minimal, tie_word_embeddings: false })).toContain("lm_head.weight");
});

test("fills in Hugging Face's defaults", () => {
  expect(parseGpt2Config(minimal, "x")).toMatchObject({
    n_inner: null,
    layer_norm_epsilon: 1e-5,
    activation_function: "gelu_new",
    tie_word_embeddings: true,
    scale_attn_weights: true,
  });
});

test("reports every unsupported or missing setting at once, by name", () => {
  const json = { ...minimal, model_type: "llama", activation_function: "relu", n_layer: undefined, n_embd: 2.5 };
  const parsing = (): unknown => parseGpt2Config(json, "models/x/config.json");
  expect(parsing).toThrow("models/x/config.json does not describe a supported gpt2 model");
  expect(parsing).toThrow('model_type is "llama": not "gpt2"');
  expect(parsing).toThrow('activation_function is "relu": not "gelu_new" or "gelu"');
  expect(parsing).toThrow("n_layer is missing");
  expect(parsing).toThrow("n_embd is 2.5");
});

test("refuses heads that do not divide the width", () => {
  expect(() => parseGpt2Config({ ...minimal, n_head: 5 }, "x")).toThrow("n_embd is 24, which n_head 5 does not divide");
});

test("refuses a file that is not an object", () => {
  expect(() => parseGpt2Config([1], "x")).toThrow("it holds a list, not an object");
  expect(() => parseGpt2Config(null, "x")).toThrow("it holds null");
});
