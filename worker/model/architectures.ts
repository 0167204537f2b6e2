// Every architecture that can be trained, by the model_type of its config.json. To add one: a file that reads its config
// and one that computes it (a Model), an entry here, and its class names in common/model-classes.ts.

import { readModelKind } from "../../common/model-classes.ts";
import { assert } from "../../common/errors.ts";
import { parseBertConfig, type BertType } from "./bert-config.ts";
import { createBert } from "./bert.ts";
import { configMismatch } from "./config.ts";
import { parseGpt2Config } from "./gpt2-config.ts";
import { createGpt2 } from "./gpt2.ts";
import { parseHead } from "./head.ts";
import { parseLlamaConfig, type LlamaType } from "./llama-config.ts";
import { createLlama } from "./llama.ts";
import type { Head, Model } from "./model.ts";

/** Offsets in the flat parameter buffers are signed 32-bit numbers in places. */
const largestSize = 0x7fff_ffff;

/** The model that a config.json (parsed, of this model_type) describes; `where` names its source in messages. */
type Architecture = (json: object, head: Head, where: string) => Model;

const llama =
  (type: LlamaType): Architecture =>
  (json, _, where) =>
    createLlama(parseLlamaConfig(type, json, where), json);
const bert =
  (type: BertType): Architecture =>
  (json, head, where) =>
    createBert(parseBertConfig(type, json, where), head, json);

const architectures: Readonly<Record<string, Architecture>> = {
  gpt2: (json, _, where) => createGpt2(parseGpt2Config(json, where), json),
  llama: llama("llama"),
  mistral: llama("mistral"),
  qwen2: llama("qwen2"),
  bert: bert("bert"),
  roberta: bert("roberta"),
  "xlm-roberta": bert("xlm-roberta"),
  distilbert: bert("distilbert"),
};

/**
 * The model of a config.json (parsed), with the head of the class that its `architectures` names. Throws RingtuneError
 * `model_mismatch` for an architecture or a head that is not supported, and otherwise with every unsupported or missing
 * setting.
 */
export function createModel(json: unknown, where: string): Model {
  const { modelType, head } = readModelKind(json, where);
  const create = architectures[modelType];
  assert(create !== undefined, `${modelType} has class names but no architecture`);
  const settings = json as object;
  const model = create(settings, parseHead(head, modelType, settings, where), where);
  const { size } = model.layout;
  if (size <= largestSize) return model;
  const problem = `it has ${(size / 1e9).toFixed(1)} billion parameters, the most is 2.1 billion`;
  throw configMismatch(modelType, where, [problem]);
}
