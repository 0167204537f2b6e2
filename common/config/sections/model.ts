// `model` and `lora`: what is trained, and whether all of it is.

import { z } from "zod";
import { sizeNames } from "../sizes.ts";
import { upTo } from "./bounds.ts";

export const model = z
  .strictObject({
    from: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Model to start from: a Hugging Face directory (config.json, model.safetensors, tokenizer.json), or a name on the Hub, which is downloaded, such as openai-community/gpt2; see docs/models.md. Leave out to train from scratch.",
      ),
    revision: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Branch, tag or commit of model.from on the Hub; also written behind the name: acme/model@v2. Left out: main.",
      ),
    architecture: z
      .enum(["gpt2", "llama", "bert"])
      .optional()
      .describe(
        "What to train from scratch: gpt2, llama (rotary positions, SwiGLU, RMSNorm; the same sizes), or bert, an encoder (the same sizes). Left out: what the task needs, gpt2 to write text and bert to classify, tag or fill in. A directory of model.from has its own.",
      ),
    size: z
      .enum(sizeNames)
      .optional()
      .describe(
        "Named size for training from scratch, with so many parameters: nano (0.8 M), micro (4 M), mini (11 M), small (31 M), gpt2 (124 M with GPT-2's own vocabulary). Left out: micro. The numbers below override it.",
      ),
    layers: upTo(1000).optional().describe("Transformer blocks (n_layer)."),
    hidden: upTo(65_536).optional().describe("Width of the residual stream (n_embd)."),
    heads: upTo(1024).optional().describe("Attention heads (n_head); must divide hidden."),
    positions: upTo(1_048_576)
      .optional()
      .describe("Longest sequence the model can see (n_positions). The sizes have 256, 256, 512, 1024 and 1024."),
  })
  .describe("What is trained.");

export const lora = z
  .strictObject({
    rank: upTo(65_536).default(8).describe("Columns of A and rows of B (r)."),
    alpha: z
      .number()
      .positive()
      .default(16)
      .describe("The adapters' share: their product is multiplied with alpha / rank (lora_alpha)."),
    target_modules: z
      .union([z.literal("all-linear"), z.array(z.string().min(1)).min(1)])
      .default("all-linear")
      .describe(
        'Linear layers that get an adapter: the ends of their names, such as [c_attn] or [q_proj, v_proj], or "all-linear" for all in the blocks.',
      ),
    rslora: z.boolean().default(false).describe("Multiply with alpha / sqrt(rank) (Kalajdzievski, 2023) instead."),
    dropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe("Share of what goes into the adapters that is dropped in training (lora_dropout)."),
    bias: z.literal("none").default("none").describe("Biases to train with the adapters; there is only none."),
  })
  .describe(
    "Train thin matrices beside the linear layers instead of the model (LoRA; Hu et al., 2021), which is saved as an adapter of PEFT. With this section, also an empty one ({}), nothing else is trained but the head of a classifier.",
  );
