// What a GPT-2 is made of: Hugging Face's config.json, checked, and the parameters it implies.
// The field names are Hugging Face's, so that a config can be written back as it was read. The computation is in gpt2.ts.

import { z } from "zod";
import { RingtuneError } from "../../common/errors.ts";
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
});

/** A validated config.json of model_type "gpt2". Dropout probabilities in the file are not used. */
export type Gpt2Config = Readonly<z.output<typeof schema>>;

/**
 * Checks the parsed contents of a config.json. `where` names its source in messages.
 * Throws RingtuneError `model_mismatch` that lists every unsupported or missing setting.
 */
export function parseGpt2Config(json: unknown, where: string): Gpt2Config {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => describeIssue(issue, json));
    throw mismatch(where, problems);
  }
  const config = parsed.data;
  if (config.n_embd % config.n_head !== 0) {
    throw mismatch(where, [`n_embd is ${config.n_embd}, which n_head ${config.n_head} does not divide`]);
  }
  return config;
}

/** Every parameter in Hugging Face's name and shape; Conv1D weights are [in, out]. */
export function gpt2Layout(config: Gpt2Config): ParameterLayout {
  const { vocab_size: vocab, n_positions: positions, n_embd: width } = config;
  const inner = innerWidth(config);
  const norm = (name: string): { name: string; shape: number[] }[] => [
    { name: `${name}.weight`, shape: [width] },
    { name: `${name}.bias`, shape: [width] },
  ];
  const conv1d = (name: string, from: number, to: number): { name: string; shape: number[] }[] => [
    { name: `${name}.weight`, shape: [from, to] },
    { name: `${name}.bias`, shape: [to] },
  ];
  const blocks = Array.from({ length: config.n_layer }, (_, i) => {
    const block = `transformer.h.${i}`;
    return [
      ...norm(`${block}.ln_1`),
      ...conv1d(`${block}.attn.c_attn`, width, 3 * width),
      ...conv1d(`${block}.attn.c_proj`, width, width),
      ...norm(`${block}.ln_2`),
      ...conv1d(`${block}.mlp.c_fc`, width, inner),
      ...conv1d(`${block}.mlp.c_proj`, inner, width),
    ];
  });
  return createLayout([
    { name: "transformer.wte.weight", shape: [vocab, width] },
    { name: "transformer.wpe.weight", shape: [positions, width] },
    ...blocks.flat(),
    ...norm("transformer.ln_f"),
    ...(config.tie_word_embeddings ? [] : [{ name: "lm_head.weight", shape: [vocab, width] }]),
  ]);
}

/** Width of the feed-forward layer. */
export function innerWidth(config: Gpt2Config): number {
  return config.n_inner ?? 4 * config.n_embd;
}

function describeIssue(issue: z.core.$ZodIssue, json: unknown): string {
  const path = issue.path.map(String).join(".");
  if (path === "")
    return `it holds ${json === null ? "null" : Array.isArray(json) ? "a list" : `a ${typeof json}`}, not an object`;
  const value = (json as Record<string, unknown>)[path];
  if (value === undefined) return `${path} is missing`;
  const wanted =
    issue.code === "invalid_value" ? `not ${issue.values.map((v) => JSON.stringify(v)).join(" or ")}` : issue.message;
  return `${path} is ${JSON.stringify(value)}: ${wanted}`;
}

function mismatch(where: string, problems: readonly string[]): RingtuneError {
  return new RingtuneError(
    "model_mismatch",
    `${where} does not describe a supported gpt2 model: ${problems.join("; ")}`,
    {
      details: { where, problems: problems.length },
    },
  );
}
