// What a BERT, RoBERTa or DistilBERT is made of: Hugging Face's config.json, checked and brought to one form, and the
// names that each family gives to the same parts. The computation is in bert.ts.

import { z } from "zod";
import { configMismatch, dropoutRate, parseConfig } from "./config.ts";

const positive = z.int().min(1);
const activation = z.enum(["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]).default("gelu");
const common = {
  vocab_size: positive,
  max_position_embeddings: positive,
  initializer_range: z.number().positive().default(0.02),
  tie_word_embeddings: z.boolean().default(true),
};

const bertSchema = z.object({
  ...common,
  hidden_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  intermediate_size: positive,
  hidden_act: activation,
  type_vocab_size: positive.default(2),
  layer_norm_eps: z.number().positive().default(1e-12),
  pad_token_id: z.int().min(0).nullish(),
  hidden_dropout_prob: dropoutRate,
  attention_probs_dropout_prob: dropoutRate,
  /** Null is hidden_dropout_prob. */
  classifier_dropout: z.number().min(0).lt(1).nullish(),
  /** Relative positions, cross attention and causal masks belong to other models. */
  position_embedding_type: z.literal("absolute").nullish(),
  is_decoder: z.literal(false).nullish(),
});

const distilbertSchema = z.object({
  ...common,
  dim: positive,
  n_layers: positive,
  n_heads: positive,
  hidden_dim: positive,
  activation,
  dropout: dropoutRate,
  attention_dropout: dropoutRate,
  seq_classif_dropout: dropoutRate,
});

export type BertType = "bert" | "roberta" | "xlm-roberta" | "distilbert";

export interface BertConfig {
  readonly modelType: BertType;
  readonly vocabulary: number;
  readonly width: number;
  /** Of the feed-forward layer. */
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  /** Rows of the table of positions. */
  readonly positions: number;
  /** The row of the first token: RoBERTa counts from behind its padding token. */
  readonly firstPosition: number;
  /** Rows of the table of token types; 0 without one. */
  readonly tokenTypes: number;
  readonly activation: z.output<typeof activation>;
  readonly epsilon: number;
  /** Whether the output embedding of a masked language model is the input embedding. */
  readonly tied: boolean;
  readonly deviation: number;
  readonly dropout: BertDropout;
}

/** Rates of dropout, by what is dropped from. */
export interface BertDropout {
  readonly embeddings: number;
  readonly attention: number;
  /** What attention adds to the residual stream. */
  readonly attentionOutput: number;
  /** What the feed-forward layer adds. */
  readonly output: number;
  /** What a classifier sees, of each sequence or of each token. */
  readonly sequenceClassifier: number;
  readonly tokenClassifier: number;
}

/** Throws RingtuneError `model_mismatch` that lists every unsupported or missing setting; `where` names the source. */
export function parseBertConfig(modelType: BertType, json: object, where: string): BertConfig {
  const config = modelType === "distilbert" ? parseDistilbert(json, where) : parseBert(modelType, json, where);
  const { width, heads } = config;
  if (width % heads !== 0) {
    throw configMismatch(modelType, where, [`the width is ${width}, which ${heads} heads do not divide`]);
  }
  if (config.positions <= config.firstPosition) {
    const problem = `max_position_embeddings is ${config.positions}, of which ${modelType} does not use the first ${config.firstPosition}`;
    throw configMismatch(modelType, where, [problem]);
  }
  return config;
}

function parseBert(modelType: Exclude<BertType, "distilbert">, json: object, where: string): BertConfig {
  const parsed = parseConfig(bertSchema, modelType, json, where);
  const hidden = parsed.hidden_dropout_prob;
  return {
    modelType,
    vocabulary: parsed.vocab_size,
    width: parsed.hidden_size,
    inner: parsed.intermediate_size,
    layers: parsed.num_hidden_layers,
    heads: parsed.num_attention_heads,
    positions: parsed.max_position_embeddings,
    firstPosition: modelType === "bert" ? 0 : (parsed.pad_token_id ?? 1) + 1,
    tokenTypes: parsed.type_vocab_size,
    activation: parsed.hidden_act,
    epsilon: parsed.layer_norm_eps,
    tied: parsed.tie_word_embeddings,
    deviation: parsed.initializer_range,
    dropout: {
      embeddings: hidden,
      attention: parsed.attention_probs_dropout_prob,
      attentionOutput: hidden,
      output: hidden,
      sequenceClassifier: parsed.classifier_dropout ?? hidden,
      tokenClassifier: parsed.classifier_dropout ?? hidden,
    },
  };
}

function parseDistilbert(json: object, where: string): BertConfig {
  const parsed = parseConfig(distilbertSchema, "distilbert", json, where);
  return {
    modelType: "distilbert",
    vocabulary: parsed.vocab_size,
    width: parsed.dim,
    inner: parsed.hidden_dim,
    layers: parsed.n_layers,
    heads: parsed.n_heads,
    positions: parsed.max_position_embeddings,
    firstPosition: 0,
    tokenTypes: 0,
    activation: parsed.activation,
    epsilon: 1e-12,
    tied: parsed.tie_word_embeddings,
    deviation: parsed.initializer_range,
    dropout: {
      embeddings: parsed.dropout,
      attention: parsed.attention_dropout,
      attentionOutput: 0,
      output: parsed.dropout,
      sequenceClassifier: parsed.seq_classif_dropout,
      tokenClassifier: parsed.dropout,
    },
  };
}

/** What the families call the same parts. */
export interface BertNames {
  /** Of the model without its head. */
  readonly prefix: string;
  /** Of a layer, behind the prefix, without its number. */
  readonly layer: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly attentionOutput: string;
  /** Where dropout is: of the probabilities, of what attention adds, of what the feed-forward layer adds. */
  readonly attentionDropout: string;
  readonly attentionOutputDropout: string;
  readonly outputDropout: string;
  readonly attentionNorm: string;
  readonly inner: string;
  readonly outer: string;
  readonly outputNorm: string;
  /** Sequence classification: the dense layer over the first token, its activation, and the classifier. */
  readonly pooler: string;
  readonly poolerActivation: "tanh" | "relu";
  readonly sequenceClassifier: string;
  /** Masked language model: the dense layer and norm before the output embedding, its matrix and its bias. */
  readonly transform: string;
  readonly transformNorm: string;
  readonly decoder: string;
  readonly decoderBias: string;
}

const bertLayer = {
  layer: "encoder.layer.",
  query: "attention.self.query",
  key: "attention.self.key",
  value: "attention.self.value",
  attentionOutput: "attention.output.dense",
  attentionDropout: "attention.self.dropout",
  attentionOutputDropout: "attention.output.dropout",
  outputDropout: "output.dropout",
  attentionNorm: "attention.output.LayerNorm",
  inner: "intermediate.dense",
  outer: "output.dense",
  outputNorm: "output.LayerNorm",
} as const;

const roberta: BertNames = {
  ...bertLayer,
  prefix: "roberta.",
  pooler: "classifier.dense",
  poolerActivation: "tanh",
  sequenceClassifier: "classifier.out_proj",
  transform: "lm_head.dense",
  transformNorm: "lm_head.layer_norm",
  decoder: "lm_head.decoder.weight",
  decoderBias: "lm_head.bias",
};

export const bertNames: Readonly<Record<BertType, BertNames>> = {
  bert: {
    ...bertLayer,
    prefix: "bert.",
    pooler: "bert.pooler.dense",
    poolerActivation: "tanh",
    sequenceClassifier: "classifier",
    transform: "cls.predictions.transform.dense",
    transformNorm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder.weight",
    decoderBias: "cls.predictions.bias",
  },
  roberta,
  "xlm-roberta": roberta,
  distilbert: {
    prefix: "distilbert.",
    layer: "transformer.layer.",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attentionOutput: "attention.out_lin",
    attentionDropout: "attention.dropout",
    attentionOutputDropout: "attention.out_dropout",
    outputDropout: "ffn.dropout",
    attentionNorm: "sa_layer_norm",
    inner: "ffn.lin1",
    outer: "ffn.lin2",
    outputNorm: "output_layer_norm",
    pooler: "pre_classifier",
    poolerActivation: "relu",
    sequenceClassifier: "classifier",
    transform: "vocab_transform",
    transformNorm: "vocab_layer_norm",
    decoder: "vocab_projector.weight",
    decoderBias: "vocab_projector.bias",
  },
};
