// The named model sizes, and what a configuration means as Hugging Face's config.json of a GPT-2, a LLaMA or a BERT.
// Models that start from a directory (model.from) bring their own config.json and do not come here.

import type { Config } from "./schema.ts";
import { assert, assertNever } from "../errors.ts";
import { modelClasses } from "../model-classes.ts";
import { headOf, type ResolvedTask } from "../task.ts";

export interface ModelShape {
  /** Transformer blocks (n_layer). */
  readonly layers: number;
  /** Width of the residual stream (n_embd). */
  readonly hidden: number;
  /** Attention heads (n_head). */
  readonly heads: number;
  /** Longest sequence (n_positions). */
  readonly positions: number;
}

export const sizeNames = ["nano", "micro", "mini", "small", "gpt2"] as const;

export type SizeName = (typeof sizeNames)[number];

export const defaultSize: SizeName = "micro";

/** In brackets: parameters with the default vocabulary of 4096, and with GPT-2's of 50257 for gpt2. */
export const sizes: Readonly<Record<SizeName, ModelShape>> = {
  /** 0.75 M */
  nano: { layers: 3, hidden: 96, heads: 4, positions: 256 },
  /** 4.3 M */
  micro: { layers: 4, hidden: 256, heads: 8, positions: 256 },
  /** 11.3 M */
  mini: { layers: 8, hidden: 320, heads: 10, positions: 512 },
  /** 31 M */
  small: { layers: 9, hidden: 512, heads: 8, positions: 1024 },
  /** 124 M */
  gpt2: { layers: 12, hidden: 768, heads: 12, positions: 1024 },
};

/** Hugging Face's config.json of a GPT2LMHeadModel. Dropout is 0 until train.dropout says otherwise. */
export interface Gpt2ConfigJson {
  readonly architectures: readonly ["GPT2LMHeadModel"];
  readonly model_type: "gpt2";
  readonly vocab_size: number;
  readonly n_positions: number;
  readonly n_ctx: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_inner: null;
  readonly activation_function: "gelu_new";
  readonly attn_pdrop: 0;
  readonly embd_pdrop: 0;
  readonly resid_pdrop: 0;
  readonly layer_norm_epsilon: number;
  readonly initializer_range: number;
  readonly scale_attn_weights: true;
  readonly tie_word_embeddings: true;
  readonly bos_token_id: number;
  readonly eos_token_id: number;
  readonly torch_dtype: "float32";
  readonly use_cache: true;
}

/** Hugging Face's config.json of a LlamaForCausalLM. */
export interface LlamaConfigJson {
  readonly architectures: readonly ["LlamaForCausalLM"];
  readonly model_type: "llama";
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly hidden_act: "silu";
  readonly attention_bias: false;
  readonly attention_dropout: 0;
  readonly mlp_bias: false;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling: null;
  readonly initializer_range: number;
  readonly tie_word_embeddings: true;
  readonly bos_token_id: number;
  readonly eos_token_id: number;
  readonly torch_dtype: "float32";
  readonly use_cache: true;
}

/** Hugging Face's config.json of a BERT with the head of a task. */
export interface BertConfigJson extends Partial<LabelSettings> {
  readonly architectures: readonly [string];
  readonly model_type: "bert";
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: "gelu";
  readonly hidden_dropout_prob: 0;
  readonly attention_probs_dropout_prob: 0;
  readonly type_vocab_size: 2;
  readonly layer_norm_eps: number;
  readonly initializer_range: number;
  readonly position_embedding_type: "absolute";
  readonly tie_word_embeddings: true;
  readonly pad_token_id: number;
  readonly torch_dtype: "float32";
}

/** The labels of a classifier in its config.json, as transformers writes them. */
export interface LabelSettings {
  readonly id2label: Readonly<Record<string, string>>;
  readonly label2id: Readonly<Record<string, number>>;
  readonly problem_type?: "single_label_classification" | "multi_label_classification";
}

/** What of a config.json says which labels a task has; nothing for one without. */
export function labelSettings({ kind, labels, multiLabel }: Pick<ResolvedTask, "kind" | "labels" | "multiLabel">) {
  if (labels.length === 0) return {};
  const problem: LabelSettings["problem_type"] = multiLabel
    ? "multi_label_classification"
    : "single_label_classification";
  const settings: LabelSettings = {
    id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    ...(kind === "classification" ? { problem_type: problem } : {}),
  };
  return settings;
}

/** The named size (micro when none is named) with the numbers of the configuration in place of its own. */
export function resolveShape(model: Config["model"]): ModelShape {
  const base = sizes[model.size ?? defaultSize];
  return {
    layers: model.layers ?? base.layers,
    hidden: model.hidden ?? base.hidden,
    heads: model.heads ?? base.heads,
    positions: model.positions ?? base.positions,
  };
}

/** Trainable numbers of a GPT-2 with tied embeddings; a LLaMA of the same shape has about as many. */
export function parameterCount(shape: ModelShape, vocabSize: number): number {
  const { layers, hidden, positions } = shape;
  const block = 12 * hidden * hidden + 13 * hidden;
  return (vocabSize + positions) * hidden + layers * block + 2 * hidden;
}

/** What of a tokenizer stands in a config.json. */
export interface TokenIds {
  /** Rows of the embedding. */
  readonly vocabSize: number;
  readonly eosId: number;
  readonly padId: number;
}

/** The architecture to train from scratch: the one that is named, or the one that the task needs. */
export function architectureOf(config: Pick<Config, "model" | "task">): NonNullable<Config["model"]["architecture"]> {
  return config.model.architecture ?? (headOf(config.task.kind) === "causal-lm" ? "gpt2" : "bert");
}

/** The model to train from scratch for `task`; see below. The rules of the configuration have checked that they fit. */
export function resolveModelConfig(
  config: Config,
  tokens: TokenIds,
  task: ResolvedTask,
): Gpt2ConfigJson | LlamaConfigJson | BertConfigJson {
  const architecture = architectureOf(config);
  switch (architecture) {
    case "gpt2":
      return resolveGpt2Config(config, tokens.vocabSize, tokens.eosId);
    case "llama":
      return resolveLlamaConfig(config, tokens.vocabSize, tokens.eosId);
    case "bert":
      return resolveBertConfig(config, tokens, task);
    default:
      return assertNever(architecture);
  }
}

/**
 * The model to train from scratch, as Hugging Face's config.json. `vocabSize` is the tokenizer's and `eosId` its
 * end-of-text token, which GPT-2 uses for the beginning too.
 */
export function resolveGpt2Config(config: Config, vocabSize: number, eosId: number): Gpt2ConfigJson {
  assert(config.model.from === undefined, "a model that starts from a directory has its own config.json");
  assert(eosId >= 0 && eosId < vocabSize, `end-of-text token ${eosId} is outside the vocabulary of ${vocabSize}`);
  const shape = resolveShape(config.model);
  return {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    vocab_size: vocabSize,
    n_positions: shape.positions,
    n_ctx: shape.positions,
    n_embd: shape.hidden,
    n_layer: shape.layers,
    n_head: shape.heads,
    n_inner: null,
    activation_function: "gelu_new",
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    layer_norm_epsilon: 1e-5,
    initializer_range: 0.02,
    scale_attn_weights: true,
    tie_word_embeddings: true,
    bos_token_id: eosId,
    eos_token_id: eosId,
    torch_dtype: "float32",
    use_cache: true,
  };
}

/**
 * As `resolveGpt2Config`, for LLaMA. Three matrices of the feed-forward layer have as many numbers as GPT-2's two, so it
 * is 8 / 3 of the width wide, rounded up to a multiple of 32.
 */
export function resolveLlamaConfig(config: Config, vocabSize: number, eosId: number): LlamaConfigJson {
  assert(config.model.from === undefined, "a model that starts from a directory has its own config.json");
  assert(eosId >= 0 && eosId < vocabSize, `end-of-text token ${eosId} is outside the vocabulary of ${vocabSize}`);
  const shape = resolveShape(config.model);
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabSize,
    max_position_embeddings: shape.positions,
    hidden_size: shape.hidden,
    intermediate_size: 32 * Math.ceil(shape.hidden / 12),
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.heads,
    hidden_act: "silu",
    attention_bias: false,
    attention_dropout: 0,
    mlp_bias: false,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    rope_scaling: null,
    initializer_range: 0.02,
    tie_word_embeddings: true,
    bos_token_id: eosId,
    eos_token_id: eosId,
    torch_dtype: "float32",
    use_cache: true,
  };
}

/**
 * As `resolveGpt2Config`, for BERT with the head of `task`. Sizes are those of the decoders; the feed-forward layer is four
 * times as wide as the model, as in GPT-2.
 */
export function resolveBertConfig(
  config: Config,
  { vocabSize, padId }: Pick<TokenIds, "vocabSize" | "padId">,
  task: ResolvedTask,
): BertConfigJson {
  assert(config.model.from === undefined, "a model that starts from a directory has its own config.json");
  const name = modelClasses["bert"]?.[task.head];
  assert(name !== undefined, `a BERT has no head ${task.head}`);
  const shape = resolveShape(config.model);
  return {
    architectures: [name],
    model_type: "bert",
    vocab_size: vocabSize,
    max_position_embeddings: shape.positions,
    hidden_size: shape.hidden,
    intermediate_size: 4 * shape.hidden,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    hidden_act: "gelu",
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    type_vocab_size: 2,
    layer_norm_eps: 1e-12,
    initializer_range: 0.02,
    position_embedding_type: "absolute",
    tie_word_embeddings: true,
    pad_token_id: padId,
    torch_dtype: "float32",
    ...labelSettings(task),
  };
}
