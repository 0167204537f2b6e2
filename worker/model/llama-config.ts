// What a LLaMA, Mistral or Qwen2 is made of: Hugging Face's config.json, checked and brought to one form, and the
// parameters that it implies. They differ in biases, defaults and the sliding window only. The computation is in llama.ts.

import { z } from "zod";
import { configMismatch, dropoutRate, parseConfig } from "./config.ts";
import type { LinearModule } from "./model.ts";
import { createLayout, type ParameterLayout } from "./parameters.ts";
import { ropeScalingSchema, type RopeScaling } from "./rope.ts";

const positive = z.int().min(1);
const none = z.literal(1).nullish();

const schema = z.object({
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive,
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.literal("silu").default("silu"),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.looseObject({}).nullish(),
  /** Where transformers 5 has both. */
  rope_parameters: z.looseObject({ rope_theta: z.number().positive().nullish() }).nullish(),
  partial_rotary_factor: none,
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: positive.nullish(),
  use_sliding_window: z.boolean().nullish(),
  initializer_range: z.number().positive().default(0.02),
  attention_dropout: dropoutRate,
});

export interface LlamaConfig {
  readonly modelType: LlamaType;
  readonly vocabulary: number;
  readonly width: number;
  /** Of the feed-forward layer. */
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyHeads: number;
  /** Width of a head. */
  readonly head: number;
  readonly positions: number;
  /** Tokens further back than this are not seen; null sees all. */
  readonly window: number | null;
  readonly epsilon: number;
  readonly theta: number;
  readonly scaling: RopeScaling;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly tied: boolean;
  readonly deviation: number;
  /** Dropout of the attention probabilities, the only one there is. */
  readonly attentionDropout: number;
}

export type LlamaType = "llama" | "mistral" | "qwen2";

/** What transformers takes where a config is silent. */
const defaults = {
  llama: { keyHeads: undefined, window: null },
  mistral: { keyHeads: 8, window: 4096 },
  qwen2: { keyHeads: 32, window: 4096 },
};

/** Throws RingtuneError `model_mismatch` that lists every unsupported or missing setting; `where` names the source. */
export function parseLlamaConfig(modelType: LlamaType, json: object, where: string): LlamaConfig {
  const parsed = parseConfig(schema, modelType, json, where);
  const heads = parsed.num_attention_heads;
  const keyHeads = parsed.num_key_value_heads ?? defaults[modelType].keyHeads ?? heads;
  const head = parsed.head_dim ?? parsed.hidden_size / heads;
  const window = parsed.sliding_window === undefined ? defaults[modelType].window : parsed.sliding_window;
  const windowed = modelType === "mistral" || (modelType === "qwen2" && parsed.use_sliding_window === true);
  const rope = { ...parsed.rope_scaling, ...parsed.rope_parameters } as Record<string, unknown>;
  const scaling = ropeScalingSchema.safeParse({ ...rope, rope_type: rope["rope_type"] ?? rope["type"] ?? "default" });
  const problems = [
    Number.isInteger(head)
      ? undefined
      : `hidden_size is ${parsed.hidden_size}, which num_attention_heads ${heads} does not divide`,
    head % 2 === 0 || !Number.isInteger(head) ? undefined : `head_dim is ${head}, which is odd`,
    heads % keyHeads === 0
      ? undefined
      : `num_key_value_heads is ${keyHeads}, which does not divide num_attention_heads ${heads}`,
    scaling.success ? undefined : `rope scaling ${JSON.stringify(rope)} is not one of default, linear and llama3`,
  ].filter((problem) => problem !== undefined);
  if (problems.length > 0 || !scaling.success) throw configMismatch(modelType, where, problems);
  const attentionBias = modelType === "llama" && parsed.attention_bias === true;
  return {
    modelType,
    vocabulary: parsed.vocab_size,
    width: parsed.hidden_size,
    inner: parsed.intermediate_size,
    layers: parsed.num_hidden_layers,
    heads,
    keyHeads,
    head,
    positions: parsed.max_position_embeddings,
    window: windowed ? window : null,
    epsilon: parsed.rms_norm_eps,
    theta: parsed.rope_parameters?.rope_theta ?? parsed.rope_theta ?? 10_000,
    scaling: scaling.data,
    qkvBias: modelType === "qwen2" || attentionBias,
    outputBias: attentionBias,
    mlpBias: modelType === "llama" && parsed.mlp_bias === true,
    tied: parsed.tie_word_embeddings,
    deviation: parsed.initializer_range,
    attentionDropout: parsed.attention_dropout,
  };
}

/** Every parameter in Hugging Face's name and shape. */
export function llamaLayout(config: LlamaConfig): ParameterLayout {
  const { vocabulary, width } = config;
  const norm = (name: string): { name: string; shape: number[] } => ({ name: `${name}.weight`, shape: [width] });
  const layers = Array.from({ length: config.layers }, (_, i) => {
    const linears = layerLinears(config, i).flatMap(({ name, inputs, outputs, bias }) => [
      { name: `${name}.weight`, shape: [outputs, inputs] },
      ...(bias ? [{ name: `${name}.bias`, shape: [outputs] }] : []),
    ]);
    const layer = `model.layers.${i}`;
    return [...linears, norm(`${layer}.input_layernorm`), norm(`${layer}.post_attention_layernorm`)];
  });
  return createLayout([
    { name: "model.embed_tokens.weight", shape: [vocabulary, width] },
    ...layers.flat(),
    norm("model.norm"),
    ...(config.tied ? [] : [{ name: "lm_head.weight", shape: [vocabulary, width] }]),
  ]);
}

export function llamaLinears(config: LlamaConfig): LinearModule[] {
  return Array.from({ length: config.layers }, (_, i) => layerLinears(config, i)).flat();
}

function layerLinears(config: LlamaConfig, layer: number): (LinearModule & { readonly bias: boolean })[] {
  const { width, inner, heads, keyHeads, head, qkvBias, outputBias, mlpBias } = config;
  const linear = (name: string, inputs: number, outputs: number, bias: boolean) => ({
    ...{ name: `model.layers.${layer}.${name}`, inputs, outputs, transposed: false, bias },
  });
  return [
    linear("self_attn.q_proj", width, heads * head, qkvBias),
    linear("self_attn.k_proj", width, keyHeads * head, qkvBias),
    linear("self_attn.v_proj", width, keyHeads * head, qkvBias),
    linear("self_attn.o_proj", heads * head, width, outputBias),
    linear("mlp.gate_proj", width, inner, mlpBias),
    linear("mlp.up_proj", width, inner, mlpBias),
    linear("mlp.down_proj", inner, width, mlpBias),
  ];
}
