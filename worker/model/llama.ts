// LLaMA (Touvron et al., 2023) and what differs from it in its config only (Mistral, Qwen2), in plain TensorFlow.js: it
// computes on whatever backend is current and keeps no state. Names and numbers are Hugging Face's.

import { modelClasses } from "../../common/model-classes.ts";
import { attention } from "./attention.ts";
import { attentionDropout } from "./dropout.ts";
import { llamaLayout, llamaLinears, type LlamaConfig } from "./llama-config.ts";
import { crossEntropy } from "./losses.ts";
import { within, type BatchTensors, type Model, type Weights } from "./model.ts";
import { embedding, gatedSilu, linear, rmsNorm, rotary } from "./nn.ts";
import { recomputed } from "./recompute.ts";
import { ropeAngles } from "./rope.ts";
import { tf } from "./tf.ts";

/** The model of `config`; `json` is the config.json that it was read from. */
export function createLlama(config: LlamaConfig, json: object): Model {
  const { modelType, vocabulary, positions, window } = config;
  return {
    name: `${modelType} with ${config.layers} layers, width ${config.width}`,
    config: { ...json, architectures: [modelClasses[modelType]!["causal-lm"]] },
    head: { kind: "causal-lm" },
    layout: llamaLayout(config),
    linears: llamaLinears(config),
    vocabularySize: vocabulary,
    // Up to its length the window hides nothing.
    maxLength: Math.min(positions, window ?? positions),
    ...(window !== null && window < positions ? { lengthLimit: "tokens of the sliding window" } : {}),
    outputs: vocabulary,
    causal: true,
    tokenTypes: 0,
    files: {
      prefix: "model.",
      ignored: /\.rotary_emb\.inv_freq$/,
      tied: config.tied ? { "lm_head.weight": "model.embed_tokens.weight" } : {},
    },
    initial({ name, shape }) {
      if (shape.length === 1) return { kind: "constant", value: name.endsWith(".weight") ? 1 : 0 };
      return { kind: "normal", deviation: config.deviation };
    },
    losses: (weights, batch, targets, smoothing) =>
      crossEntropy(hiddenStates(config, weights, batch), headOf(config, weights), targets, undefined, smoothing),
    logits: (weights, batch) => tf.matMul(hiddenStates(config, weights, batch), headOf(config, weights), false, true),
  };
}

/** The last hidden states after the final norm: [tokens, width]. */
function hiddenStates(config: LlamaConfig, weights: Weights, batch: BatchTensors): tf.Tensor {
  const { head, theta, scaling, epsilon } = config;
  const { cos, sin } = ropeAngles(head, batch.length, theta, scaling);
  const angles = [cos, sin].map((values) => tf.tensor(values, [batch.length, head / 2]));
  let x = embedding(weights.tensor("model.embed_tokens.weight"), batch.ids);
  for (let i = 0; i < config.layers; i++) {
    const own = within(weights, `model.layers.${i}.`);
    x = recomputed(own, x, angles, (x, cos, sin) =>
      layer(config, own, x, batch, (x) => rotary(x, cos, sin, batch.rows)),
    );
  }
  return rmsNorm(x, weights.tensor("model.norm.weight"), epsilon);
}

function layer(
  config: LlamaConfig,
  weights: Weights,
  x: tf.Tensor,
  { rows, length }: BatchTensors,
  turn: (x: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const { heads, keyHeads, head, qkvBias, outputBias, mlpBias, epsilon } = config;
  const project = (name: string, x: tf.Tensor, bias: boolean): tf.Tensor => {
    const y = linear(x, weights.tensor(`${name}.weight`), bias ? weights.tensor(`${name}.bias`) : undefined);
    return weights.adapt?.(name, x, y) ?? y;
  };
  const norm = (name: string, x: tf.Tensor): tf.Tensor => rmsNorm(x, weights.tensor(`${name}.weight`), epsilon);

  const before = norm("input_layernorm", x);
  const [q, k, v] = ["q", "k", "v"].map((name) => project(`self_attn.${name}_proj`, before, qkvBias));
  const dropped = attentionDropout(weights, "self_attn.dropout", config.attentionDropout);
  const shape = { rows, length, heads, keyHeads, scale: 1 / Math.sqrt(head), dropout: dropped };
  const attended = attention(turn(q!), turn(k!), v!, shape);
  const middle = tf.add(x, project("self_attn.o_proj", attended, outputBias));
  const after = norm("post_attention_layernorm", middle);
  const [gate, up] = ["gate", "up"].map((name) => project(`mlp.${name}_proj`, after, mlpBias));
  return tf.add(middle, project("mlp.down_proj", gatedSilu(gate!, up!), mlpBias));
}

function headOf(config: LlamaConfig, weights: Weights): tf.Tensor {
  return weights.tensor(config.tied ? "model.embed_tokens.weight" : "lm_head.weight");
}
