// What a GPT-2 is made of: Hugging Face's config.json, checked, and the parameters it implies.
// The field names are Hugging Face's, so that a config can be written back as it was read. The computation is in gpt2.ts.

import { z } from "zod";
import { configMismatch, dropoutRate, parseConfig } from "./config.ts";
import type { LinearModule } from "./model.ts";
import { createLayout, type ParameterLayout } from "./parameters.ts";

const positive = z.int().min(1);

const schema = z.object({
  model_type: z.literal("gpt2").default("gpt2"),
  vocab_size: positive,
  n_positions: positive,
  /** Width of the residual stream. */
  n_embd: positive,
  n_layer: positive,
  /** Divides n_embd. */
  n_head: positive,
  /** Width of the feed-forward layer; null means 4 * n_embd. */
  n_inner: positive.nullable().default(null),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  /** "gelu_new" is the tanh form, "gelu" the exact erf form. */
  activation_function: z.enum(["gelu_new", "gelu"]).default("gelu_new"),
  /** The head is wte transposed; otherwise there is a lm_head.weight. */
  tie_word_embeddings: z.boolean().default(true),
  /** Scores are divided by sqrt(head width). */
  scale_attn_weights: z.boolean().default(true),
  /** Scores of block i are also divided by i + 1. */
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  /** Cross attention belongs to encoder-decoder models, which are not supported. */
  add_cross_attention: z.literal(false).default(false),
  initializer_range: z.number().positive().default(0.02),
  /** Dropout after the embeddings, of the attention probabilities, and in front of the residual stream. */
  embd_pdrop: dropoutRate,
  attn_pdrop: dropoutRate,
  resid_pdrop: dropoutRate,
});

/** A validated config.json of model_type "gpt2". */
export type Gpt2Config = Readonly<z.output<typeof schema>>;

/**
 * Checks the parsed contents of a config.json. `where` names its source in messages.
 * Throws RingtuneError `model_mismatch` that lists every unsupported or missing setting.
 */
export function parseGpt2Config(json: unknown, where: string): Gpt2Config {
  const config = parseConfig(schema, "gpt2", json, where);
  if (config.n_embd % config.n_head !== 0) {
    throw configMismatch("gpt2", where, [`n_embd is ${config.n_embd}, which n_head ${config.n_head} does not divide`]);
  }
  return config;
}

/** Every parameter in Hugging Face's name and shape; Conv1D weights are [in, out]. */
export function gpt2Layout(config: Gpt2Config): ParameterLayout {
  const { vocab_size: vocab, n_positions: positions, n_embd: width } = config;
  const norm = (name: string): { name: string; shape: number[] }[] => [
    { name: `${name}.weight`, shape: [width] },
    { name: `${name}.bias`, shape: [width] },
  ];
  const conv1d = ({ name, inputs, outputs }: LinearModule): { name: string; shape: number[] }[] => [
    { name: `${name}.weight`, shape: [inputs, outputs] },
    { name: `${name}.bias`, shape: [outputs] },
  ];
  const blocks = Array.from({ length: config.n_layer }, (_, i) => {
    const block = `transformer.h.${i}`;
    const [attn, attnProjection, fc, projection] = blockLinears(config, block).map(conv1d);
    return [norm(`${block}.ln_1`), attn, attnProjection, norm(`${block}.ln_2`), fc, projection].flatMap((x) => x ?? []);
  });
  return createLayout([
    { name: "transformer.wte.weight", shape: [vocab, width] },
    { name: "transformer.wpe.weight", shape: [positions, width] },
    ...blocks.flat(),
    ...norm("transformer.ln_f"),
    ...(config.tie_word_embeddings ? [] : [{ name: "lm_head.weight", shape: [vocab, width] }]),
  ]);
}

/** The Conv1D layers of all blocks. */
export function gpt2Linears(config: Gpt2Config): LinearModule[] {
  return Array.from({ length: config.n_layer }, (_, i) => blockLinears(config, `transformer.h.${i}`)).flat();
}

function blockLinears(config: Gpt2Config, block: string): LinearModule[] {
  const width = config.n_embd;
  const inner = innerWidth(config);
  return [
    { name: `${block}.attn.c_attn`, inputs: width, outputs: 3 * width, transposed: true },
    { name: `${block}.attn.c_proj`, inputs: width, outputs: width, transposed: true },
    { name: `${block}.mlp.c_fc`, inputs: width, outputs: inner, transposed: true },
    { name: `${block}.mlp.c_proj`, inputs: inner, outputs: width, transposed: true },
  ];
}

/** Width of the feed-forward layer. */
export function innerWidth(config: Gpt2Config): number {
  return config.n_inner ?? 4 * config.n_embd;
}
