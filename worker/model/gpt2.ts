// GPT-2 (Radford et al., 2019) in plain TensorFlow.js: it computes on whatever backend is current and keeps no state.
// Names, layouts and numbers are Hugging Face's GPT2LMHeadModel.

import { gpt2Layout, gpt2Linears, type Gpt2Config } from "./gpt2-config.ts";
import { within, type BatchTensors, type Model, type Weights } from "./model.ts";
import { packedCausalAttention } from "./attention.ts";
import { attentionDropout, dropout } from "./dropout.ts";
import { crossEntropy } from "./losses.ts";
import { addPositions, conv1d, embedding, gelu, layerNorm } from "./nn.ts";
import { recomputed } from "./recompute.ts";
import { tf } from "./tf.ts";

/** The model of `config`; `json` is the config.json that it was read from. */
export function createGpt2(config: Gpt2Config, json: object = {}): Model {
  return {
    name: `gpt2 with ${config.n_layer} layers, width ${config.n_embd}`,
    config: { ...json, ...config, architectures: ["GPT2LMHeadModel"], n_ctx: config.n_positions },
    head: { kind: "causal-lm" },
    layout: gpt2Layout(config),
    linears: gpt2Linears(config),
    vocabularySize: config.vocab_size,
    maxLength: config.n_positions,
    outputs: config.vocab_size,
    causal: true,
    tokenTypes: 0,
    files: {
      prefix: "transformer.",
      // The causal mask, which old versions of transformers saved with the weights.
      ignored: /\.attn\.(bias|masked_bias)$/,
      tied: config.tie_word_embeddings ? { "lm_head.weight": "transformer.wte.weight" } : {},
    },
    // As GPT2PreTrainedModel._init_weights and section 2.3 of the paper have it.
    initial({ name, shape }) {
      if (shape.length === 1) return { kind: "constant", value: name.endsWith(".weight") ? 1 : 0 };
      const scale = name.endsWith(".c_proj.weight") ? 1 / Math.sqrt(2 * config.n_layer) : 1;
      return { kind: "normal", deviation: config.initializer_range * scale };
    },
    losses: (weights, batch, targets, smoothing) =>
      crossEntropy(hiddenStates(config, weights, batch), headOf(config, weights), targets, undefined, smoothing),
    logits: (weights, batch) => tf.matMul(hiddenStates(config, weights, batch), headOf(config, weights), false, true),
  };
}

/** The last hidden states after the final norm: [tokens, width]. */
function hiddenStates(config: Gpt2Config, weights: Weights, batch: BatchTensors): tf.Tensor {
  const { rows, length, ids } = batch;
  const embedded = embedding(weights.tensor("transformer.wte.weight"), ids);
  const placed = addPositions(embedded, weights.tensor("transformer.wpe.weight"), rows, length);
  let x = dropout(weights, "transformer.drop", placed, config.embd_pdrop);
  for (let i = 0; i < config.n_layer; i++) {
    const own = within(weights, `transformer.h.${i}.`);
    x = recomputed(own, x, [], (x) => block(config, i, own, x, batch));
  }
  return norm(config, weights, "transformer.ln_f", x);
}

function block(config: Gpt2Config, index: number, weights: Weights, x: tf.Tensor, batch: BatchTensors): tf.Tensor {
  const { n_embd: width, n_head: heads } = config;
  const scale =
    (config.scale_attn_weights ? 1 / Math.sqrt(width / heads) : 1) /
    (config.scale_attn_by_inverse_layer_idx ? index + 1 : 1);

  const qkv = project(weights, "attn.c_attn", norm(config, weights, "ln_1", x));
  const { rows, length } = batch;
  const dropped = attentionDropout(weights, "attn.attn_dropout", config.attn_pdrop);
  const attended = packedCausalAttention(qkv, { rows, length, heads, scale, dropout: dropped });
  const residual = (place: string, y: tf.Tensor): tf.Tensor => dropout(weights, place, y, config.resid_pdrop);
  const afterAttention = tf.add(x, residual("attn.resid_dropout", project(weights, "attn.c_proj", attended)));
  const inner = gelu(
    project(weights, "mlp.c_fc", norm(config, weights, "ln_2", afterAttention)),
    config.activation_function,
  );
  return tf.add(afterAttention, residual("mlp.dropout", project(weights, "mlp.c_proj", inner)));
}

function project(weights: Weights, module: string, x: tf.Tensor): tf.Tensor {
  const y = conv1d(x, weights.tensor(`${module}.weight`), weights.tensor(`${module}.bias`));
  return weights.adapt?.(module, x, y) ?? y;
}

function norm(config: Gpt2Config, weights: Weights, name: string, x: tf.Tensor): tf.Tensor {
  return layerNorm(x, weights.tensor(`${name}.weight`), weights.tensor(`${name}.bias`), config.layer_norm_epsilon);
}

function headOf(config: Gpt2Config, weights: Weights): tf.Tensor {
  return weights.tensor(config.tie_word_embeddings ? "transformer.wte.weight" : "lm_head.weight");
}
