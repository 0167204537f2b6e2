// `task`, `tokenizer` and `data`: what is learned, from which documents, and how text becomes tokens.

import { z } from "zod";

const labels = z
  .array(z.string().min(1))
  .min(1)
  .optional()
  .describe(
    "Names of the labels in the order of their indices. Left out: those of the model's head if it has any, else those in the data, sorted.",
  );

export const task = z
  .discriminatedUnion("kind", [
    z.strictObject({
      kind: z
        .literal("language-modelling")
        .optional()
        .default("language-modelling")
        .describe(
          "What is learned: the next token of texts; the answers of instruction data; a class of each text; a tag of each word; the masked tokens of texts. See docs/data.md.",
        ),
    }),
    z.strictObject({ kind: z.literal("instruction") }),
    z.strictObject({
      kind: z.literal("classification"),
      labels,
      multi_label: z
        .boolean()
        .default(false)
        .describe("Whether a text may have any number of labels, each learned by itself, instead of exactly one."),
      positive_label: z
        .string()
        .min(1)
        .optional()
        .describe("Of two labels, the one that precision, recall and F1 are of. Left out: the last."),
    }),
    z.strictObject({ kind: z.literal("tagging"), labels }),
    z.strictObject({
      kind: z.literal("masked-lm"),
      mask_probability: z
        .number()
        .gt(0)
        .lt(1)
        .default(0.15)
        .describe(
          "Share of the tokens to fill in: 80% of them are masked, 10% replaced by others, 10% left as they are.",
        ),
    }),
  ])
  .describe("What is learned from the data, which decides the head of the model.");

export const tokenizer = z
  .strictObject({
    from: z
      .string()
      .min(1)
      .optional()
      .describe(
        "tokenizer.json file, a directory that holds one, or a name on the Hub. Leave out to train a byte-level BPE on the training documents (or to use the one of model.from).",
      ),
    vocab_size: z
      .int()
      .min(257)
      .max(1_000_000)
      .default(4096)
      .describe(
        "Size of the vocabulary to train: 256 bytes, the special tokens (end of text; four for an encoder), and merges.",
      ),
  })
  .describe("How text becomes tokens.");

export const data = z
  .strictObject({
    source: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .default("sotu")
      .describe(
        '"sotu" (State of the Union addresses, 1790 to 2021), "spam-assassin" (6,046 e-mails of 2002 with the labels ham and spam), or paths of .txt, .md or .jsonl files or folders of them. A text file is one document; a JSONL line is one.',
      ),
    years: z
      .array(z.int().min(1790).max(2021))
      .length(2)
      .optional()
      .describe("First and last year of the addresses of sotu, such as [1790, 1900]. Left out: all."),
    text_field: z.string().min(1).default("text").describe("Field of a JSONL line that holds the text."),
    pair_field: z
      .string()
      .min(1)
      .optional()
      .describe("Classification: field of a JSONL line with a second text, to classify pairs of texts."),
    label_field: z
      .string()
      .min(1)
      .default("label")
      .describe(
        "Classification: field of a JSONL line that holds the label, by its name or its index; with task.multi_label a list of them.",
      ),
    tokens_field: z
      .string()
      .min(1)
      .default("tokens")
      .describe("Tagging: field of a JSONL line with the list of words."),
    tags_field: z
      .string()
      .min(1)
      .default("tags")
      .describe("Tagging: field of a JSONL line with the list of their tags, by name or index."),
    format: z
      .enum(["auto", "alpaca", "messages", "completion"])
      .default("auto")
      .describe(
        "Instruction data: alpaca (instruction, input, output), messages (a conversation, with the chat template of the tokenizer) or completion (prompt, completion). auto goes by the fields of the first line.",
      ),
    near_duplicates: z
      .enum(["keep", "group", "drop"])
      .optional()
      .describe(
        "Documents that say the same in nearly the same words: keep takes no notice of them, group never puts them on both sides of the split, drop keeps the first of each group only. Left out: group for classification, keep otherwise. See docs/near-duplicates.md.",
      ),
    near_duplicate_threshold: z
      .number()
      .min(0.3)
      .max(1)
      .default(0.5)
      .describe(
        "Share of common runs of three words (Jaccard similarity) from which two documents are near duplicates. 1: the words are the same.",
      ),
    validation_fraction: z
      .number()
      .min(0)
      .lt(1)
      .default(0.05)
      .describe("Share of the documents kept out of training, drawn with the seed."),
    cache: z.string().min(1).default(".cache/ringtune").describe("Folder for tokenised data, keyed by content."),
  })
  .describe("The documents.");
