// Which architectures there are, by the model_type of Hugging Face's config.json, and the class that a model has there
// with each head. Names only: the worker computes them, the coordinator writes and checks configs.

import { RingtuneError } from "./errors.ts";

export const headKinds = ["causal-lm", "masked-lm", "sequence-classification", "token-classification"] as const;

export type HeadKind = (typeof headKinds)[number];

type Classes = Readonly<Partial<Record<HeadKind, string>>>;

const encoder = (family: string): Classes => ({
  "masked-lm": `${family}ForMaskedLM`,
  "sequence-classification": `${family}ForSequenceClassification`,
  "token-classification": `${family}ForTokenClassification`,
});

/** transformers' class names. Models of one head only take it when a config names none. */
export const modelClasses: Readonly<Record<string, Classes>> = {
  gpt2: { "causal-lm": "GPT2LMHeadModel" },
  llama: { "causal-lm": "LlamaForCausalLM" },
  mistral: { "causal-lm": "MistralForCausalLM" },
  qwen2: { "causal-lm": "Qwen2ForCausalLM" },
  bert: encoder("Bert"),
  roberta: encoder("Roberta"),
  "xlm-roberta": encoder("XLMRoberta"),
  distilbert: encoder("DistilBert"),
};

/** What a config.json says about the kind of model. */
export interface ModelKind {
  readonly modelType: string;
  readonly head: HeadKind;
}

/**
 * The architecture and the head of the parsed contents of a config.json. Throws RingtuneError `model_mismatch`, with what
 * is supported, when it names others.
 */
export function readModelKind(json: unknown, where: string): ModelKind {
  const isObject = typeof json === "object" && json !== null && !Array.isArray(json);
  const { model_type: modelType, architectures } = (isObject ? json : {}) as Record<string, unknown>;
  const classes =
    typeof modelType === "string" && Object.hasOwn(modelClasses, modelType) ? modelClasses[modelType] : undefined;
  if (typeof modelType !== "string" || classes === undefined) {
    const found = modelType === undefined ? "no model_type" : `model_type ${JSON.stringify(modelType)}`;
    throw mismatch(where, `${where} has ${found}; supported are ${Object.keys(modelClasses).join(", ")}`);
  }
  const heads = Object.keys(classes) as HeadKind[];
  const named = Array.isArray(architectures) ? architectures.map(String) : [];
  const head = heads.find((kind) => named.includes(classes[kind] ?? ""));
  if (head !== undefined) return { modelType, head };
  // The class without a head is a decoder that was saved without its (tied) one.
  const bare = named.length === 0 || named.every((name) => /Model$/.test(name) && !/LMHead|DoubleHeads/.test(name));
  const [only] = heads;
  if (bare && heads.length === 1 && only !== undefined) return { modelType, head: only };
  const found = named.length === 0 ? "names no class in architectures" : `is of class ${named.join(", ")}`;
  throw mismatch(where, `${where} ${found}; supported for ${modelType} are ${Object.values(classes).join(", ")}`);
}

/** `json` with another head, as a config.json of the class that has it. */
export function withHead(
  json: Readonly<Record<string, unknown>>,
  head: HeadKind,
  where: string,
): Record<string, unknown> {
  const classes = modelClasses[String(json["model_type"])];
  const name = classes?.[head];
  if (name === undefined) {
    const known = classes === undefined ? "" : `; it has ${Object.keys(classes).join(", ")}`;
    throw mismatch(where, `${where} is of model_type ${String(json["model_type"])}, which has no head ${head}${known}`);
  }
  return { ...json, architectures: [name] };
}

/**
 * `json` with `head`, and whether that head is new to it. Of an encoder any class is taken, also one without a head; of a
 * decoder the head is a part of the model. Throws `model_mismatch` as the two above.
 */
export function giveHead(
  json: Readonly<Record<string, unknown>>,
  head: HeadKind,
  where: string,
): { json: Readonly<Record<string, unknown>>; isNew: boolean } {
  const { model_type: modelType, architectures } = json;
  const classes =
    typeof modelType === "string" && Object.hasOwn(modelClasses, modelType) ? modelClasses[modelType] : undefined;
  const named = Array.isArray(architectures) ? architectures.map(String) : [];
  const own = classes?.[head];
  if (own !== undefined && named.includes(own)) return { json, isNew: false };
  if (classes === undefined || Object.keys(classes).length === 1) {
    if (readModelKind(json, where).head === head) return { json, isNew: false };
  }
  return { json: withHead(json, head, where), isNew: true };
}

function mismatch(where: string, message: string): RingtuneError {
  return new RingtuneError("model_mismatch", message, { details: { where } });
}
