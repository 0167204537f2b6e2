// BERT (Devlin et al., 2018) and what differs from it in names and config only (RoBERTa, DistilBERT), with its heads, in
// plain TensorFlow.js: it computes on whatever backend is current and keeps no state. Names and numbers are Hugging
// Face's.

import { modelClasses } from "../../common/model-classes.ts";
import { attention, paddingBias } from "./attention.ts";
import { bertLayout, bertLinears } from "./bert-layout.ts";
import { bertNames, type BertConfig } from "./bert-config.ts";
import { attentionDropout, dropout } from "./dropout.ts";
import { binaryCrossEntropy, crossEntropy } from "./losses.ts";
import { within, type BatchTensors, type Head, type Model, type Weights } from "./model.ts";
import { addPositions, embedding, firstTokens, gelu, layerNorm, linear, relu, tanh } from "./nn.ts";
import { recomputed } from "./recompute.ts";
import { tf } from "./tf.ts";

/** The model of `config` with `head`; `json` is the config.json that both were read from. */
export function createBert(config: BertConfig, head: Head, json: object): Model {
  const { modelType, vocabulary, tied } = config;
  const names = bertNames[modelType];
  const wordEmbeddings = `${names.prefix}embeddings.word_embeddings.weight`;
  const outputBias = names.decoderBias.replace(/bias$/, "decoder.bias");
  return {
    name: `${modelType} with ${config.layers} layers, width ${config.width}`,
    config: { ...json, architectures: [modelClasses[modelType]![head.kind]] },
    head,
    layout: bertLayout(config, head),
    linears: bertLinears(config),
    vocabularySize: vocabulary,
    maxLength: config.positions - config.firstPosition,
    outputs: "labels" in head ? head.labels : vocabulary,
    causal: false,
    tokenTypes: config.tokenTypes,
    files: {
      prefix: names.prefix,
      ignored: /\.position_ids$/,
      tied: {
        ...(tied ? { [names.decoder]: wordEmbeddings } : {}),
        ...(modelType === "distilbert" ? {} : { [outputBias]: names.decoderBias }),
      },
      // TensorFlow's names, in the first files that were published.
      renamed: [
        [/\.gamma$/, ".weight"],
        [/\.beta$/, ".bias"],
      ],
      heads: /^(classifier|pre_classifier|cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|\w+\.pooler)\./,
    },
    initial({ name, shape }) {
      if (shape.length === 1) return { kind: "constant", value: name.endsWith(".weight") ? 1 : 0 };
      return { kind: "normal", deviation: config.deviation };
    },
    losses(weights, batch, targets, smoothing) {
      const { x, matrix, bias } = beforeLogits(config, head, weights, batch);
      if (head.kind === "sequence-classification" && head.multiLabel) {
        return tf.reshape(binaryCrossEntropy(linear(x, matrix, bias), targets), [targets.size]);
      }
      return crossEntropy(x, matrix, targets, bias, smoothing);
    },
    logits(weights, batch) {
      const { x, matrix, bias } = beforeLogits(config, head, weights, batch);
      return linear(x, matrix, bias);
    },
  };
}

/** What the last linear layer of the head is applied to, [tokens, width] or [rows, width], and that layer. */
function beforeLogits(
  config: BertConfig,
  head: Head,
  weights: Weights,
  batch: BatchTensors,
): { x: tf.Tensor; matrix: tf.Tensor; bias: tf.Tensor } {
  const names = bertNames[config.modelType];
  const { tensor } = weights;
  const x = hiddenStates(config, weights, batch);
  switch (head.kind) {
    case "sequence-classification": {
      const activate = names.poolerActivation === "tanh" ? tanh : relu;
      const rate = config.dropout.sequenceClassifier;
      // RoBERTa's head drops in front of its dense layer too.
      const first = firstTokens(x, batch.rows);
      const seen = names.prefix === "roberta." ? dropout(weights, "classifier.dropout.0", first, rate) : first;
      const pooled = dropout(weights, "dropout", activate(project(weights, names.pooler, seen)), rate);
      const classifier = names.sequenceClassifier;
      return { x: pooled, matrix: tensor(`${classifier}.weight`), bias: tensor(`${classifier}.bias`) };
    }
    case "token-classification": {
      const seen = dropout(weights, "dropout", x, config.dropout.tokenClassifier);
      return { x: seen, matrix: tensor("classifier.weight"), bias: tensor("classifier.bias") };
    }
    case "masked-lm":
    case "causal-lm": {
      // RoBERTa's head has the exact GELU whatever the layers have.
      const form = names.prefix === "roberta." ? "gelu" : config.activation;
      const transformed = norm(
        config,
        weights,
        names.transformNorm,
        activated(form, project(weights, names.transform, x)),
      );
      const matrix = config.tied ? `${names.prefix}embeddings.word_embeddings.weight` : names.decoder;
      return { x: transformed, matrix: tensor(matrix), bias: tensor(names.decoderBias) };
    }
  }
}

/** The hidden states of the last layer: [tokens, width]. */
function hiddenStates(config: BertConfig, weights: Weights, batch: BatchTensors): tf.Tensor {
  const { prefix, layer } = bertNames[config.modelType];
  const { rows, length, ids, attentionMask, tokenTypeIds } = batch;
  const embeddings = within(weights, `${prefix}embeddings.`);
  const words = embedding(embeddings.tensor("word_embeddings.weight"), ids);
  const table = embeddings.tensor("position_embeddings.weight");
  let x = addPositions(words, table, rows, length, config.firstPosition);
  if (tokenTypeIds !== undefined) {
    x = tf.add(x, embedding(embeddings.tensor("token_type_embeddings.weight"), tokenTypeIds));
  }
  x = dropout(embeddings, "dropout", norm(config, embeddings, "LayerNorm", x), config.dropout.embeddings);
  const bias = paddingBias(attentionMask!, rows, length);
  for (let i = 0; i < config.layers; i++) {
    const own = within(weights, `${prefix}${layer}${i}.`);
    x = recomputed(own, x, [bias], (x, bias) => encoderLayer(config, own, x, batch, bias));
  }
  return x;
}

function encoderLayer(
  config: BertConfig,
  weights: Weights,
  x: tf.Tensor,
  { rows, length }: BatchTensors,
  keyBias: tf.Tensor,
): tf.Tensor {
  const names = bertNames[config.modelType];
  const { heads, width, dropout: rates } = config;
  const [q, k, v] = [names.query, names.key, names.value].map((name) => project(weights, name, x));
  const dropped = attentionDropout(weights, names.attentionDropout, rates.attention);
  const shape = { rows, length, heads, scale: 1 / Math.sqrt(width / heads), dropout: dropped };
  const attended = project(weights, names.attentionOutput, attention(q!, k!, v!, shape, keyBias));
  const kept = dropout(weights, names.attentionOutputDropout, attended, rates.attentionOutput);
  const middle = norm(config, weights, names.attentionNorm, tf.add(kept, x));
  const inner = activated(config.activation, project(weights, names.inner, middle));
  const outer = dropout(weights, names.outputDropout, project(weights, names.outer, inner), rates.output);
  return norm(config, weights, names.outputNorm, tf.add(outer, middle));
}

function project(weights: Weights, module: string, x: tf.Tensor): tf.Tensor {
  const y = linear(x, weights.tensor(`${module}.weight`), weights.tensor(`${module}.bias`));
  return weights.adapt?.(module, x, y) ?? y;
}

function norm(config: BertConfig, weights: Weights, name: string, x: tf.Tensor): tf.Tensor {
  return layerNorm(x, weights.tensor(`${name}.weight`), weights.tensor(`${name}.bias`), config.epsilon);
}

function activated(form: BertConfig["activation"], x: tf.Tensor): tf.Tensor {
  if (form === "relu") return relu(x);
  return gelu(x, form === "gelu" ? "gelu" : "gelu_new");
}
