// GPT-2 (Radford et al., 2019) in plain TensorFlow.js: it computes on whatever backend is current and keeps no state.
// Names, layouts and numbers are Hugging Face's GPT2LMHeadModel without dropout.

import { gpt2Layout, type Gpt2Config } from "./gpt2-config.ts";
import type { LanguageModel, ParameterTensors, TokenBatch } from "./language-model.ts";
import { addPositions, causalAttention, crossEntropy, embedding, gelu, layerNorm, linear } from "./nn.ts";
import { tf } from "./tf.ts";

/** The model of `config`. */
export function createGpt2(config: Gpt2Config): LanguageModel {
  return {
    name: `gpt2 with ${config.n_layer} layers, width ${config.n_embd}`,
    layout: gpt2Layout(config),
    vocabularySize: config.vocab_size,
    maxLength: config.n_positions,
    tokenLosses: (parameters, batch, targets) =>
      crossEntropy(hiddenStates(config, parameters, batch), headOf(config, parameters), targets),
    logits: (parameters, batch) =>
      tf.matMul(hiddenStates(config, parameters, batch), headOf(config, parameters), false, true),
  };
}

/** The last hidden states after the final norm: [tokens, width]. */
function hiddenStates(config: Gpt2Config, parameters: ParameterTensors, batch: TokenBatch): tf.Tensor {
  const { rows, length, ids } = batch;
  const embedded = embedding(parameters("transformer.wte.weight"), ids);
  let x = addPositions(embedded, parameters("transformer.wpe.weight"), rows, length);
  for (let i = 0; i < config.n_layer; i++)
    x = block(config, i, (name) => parameters(`transformer.h.${i}.${name}`), x, batch);
  return norm(config, parameters, "transformer.ln_f", x);
}

function block(config: Gpt2Config, index: number, of: ParameterTensors, x: tf.Tensor, batch: TokenBatch): tf.Tensor {
  const { n_embd: width, n_head: heads } = config;
  const scale =
    (config.scale_attn_weights ? 1 / Math.sqrt(width / heads) : 1) /
    (config.scale_attn_by_inverse_layer_idx ? index + 1 : 1);
  const conv1d = (name: string, input: tf.Tensor): tf.Tensor => linear(input, of(`${name}.weight`), of(`${name}.bias`));

  const qkv = conv1d("attn.c_attn", norm(config, of, "ln_1", x));
  const attended = causalAttention(qkv, { rows: batch.rows, length: batch.length, heads, scale });
  const afterAttention = tf.add(x, conv1d("attn.c_proj", attended));
  const inner = gelu(conv1d("mlp.c_fc", norm(config, of, "ln_2", afterAttention)), config.activation_function);
  return tf.add(afterAttention, conv1d("mlp.c_proj", inner));
}

function norm(config: Gpt2Config, of: ParameterTensors, name: string, x: tf.Tensor): tf.Tensor {
  return layerNorm(x, of(`${name}.weight`), of(`${name}.bias`), config.layer_norm_epsilon);
}

function headOf(config: Gpt2Config, parameters: ParameterTensors): tf.Tensor {
  return parameters(config.tie_word_embeddings ? "transformer.wte.weight" : "lm_head.weight");
}
