import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { resolveTask } from "../../common/task.ts";
import { completeModelConfig, readModelConfig } from "../../coordinator/model-config.ts";

const bert = { model_type: "bert", vocab_size: 100, max_position_embeddings: 64, architectures: ["BertModel"] };

function folderOf(json: object): string {
  const folder = mkdtempSync(join(tmpdir(), "ringtune-model-config-"));
  writeFileSync(join(folder, "config.json"), JSON.stringify(json));
  return folder;
}

const read = (json: object, head: Parameters<typeof readModelConfig>[2] = "sequence-classification") =>
  readModelConfig(folderOf(json), "model", head);
const classification = (labels: string[]) => {
  const { task } = configSchema.parse({ task: { kind: "classification" } });
  return resolveTask(task, labels);
};

test("an encoder of any class gets the head of the task, and says that it is new", async () => {
  for (const architectures of [["BertModel"], ["BertForPreTraining"], ["BertForMaskedLM"], undefined]) {
    const model = await read({ ...bert, architectures, id2label: { 0: "old", 1: "older" } });
    expect(model.notices[0]).toContain("has no sequence-classification head; a new one starts from the seed");
    expect(completeModelConfig(model, classification(["ham", "spam"]))).toMatchObject({
      architectures: ["BertForSequenceClassification"],
      id2label: { 0: "ham", 1: "spam" },
      problem_type: "single_label_classification",
      vocab_size: 100,
    });
  }
});

test("a head that is there keeps its labels; only labels without a name get one", async () => {
  const own = { ...bert, architectures: ["BertForSequenceClassification"] };
  const named = await read({ ...own, id2label: { 0: "no", 1: "yes" } });
  expect(named).toMatchObject({ labels: ["no", "yes"], notices: [] });
  expect(() => completeModelConfig(named, classification(["yes", "no"]))).toThrow(
    /has the 2 labels no, yes, the task the 2 labels yes, no; leave out task\.labels/,
  );
  for (const id2label of [undefined, { 0: "LABEL_0", 1: "LABEL_1" }]) {
    const unnamed = await read({ ...own, id2label });
    expect(unnamed.labels).toBeUndefined();
    expect(completeModelConfig(unnamed, classification(["a", "b"]))).toMatchObject({ id2label: { 0: "a", 1: "b" } });
    expect(() => completeModelConfig(unnamed, classification(["a", "b", "c"]))).toThrow("has 2 labels, the task the 3");
  }
});

test("a decoder gets no other head", async () => {
  const llama = { ...bert, model_type: "llama", architectures: ["LlamaForCausalLM"] };
  await expect(read(llama)).rejects.toThrow(
    "is of model_type llama, which has no head sequence-classification; it has causal-lm",
  );
  const classifier = { ...llama, architectures: ["LlamaForSequenceClassification"] };
  await expect(read(classifier, "causal-lm")).rejects.toThrow("is of class LlamaForSequenceClassification");
});

test("RoBERTa does not use the positions up to its padding token", async () => {
  const roberta = { ...bert, model_type: "roberta", max_position_embeddings: 66, pad_token_id: 1, type_vocab_size: 1 };
  expect(await read(roberta)).toMatchObject({ positions: 64, tokenTypes: 1 });
  expect(await read(bert)).toMatchObject({ positions: 64, tokenTypes: 2 });
});
