// `train`: the optimisation, but for the optimizer's own fields (optimizer.ts).

import { z } from "zod";
import { precisions } from "../../devices.ts";
import { stoppingMetrics } from "../../evaluation/stopping-metrics.ts";
import { upTo } from "./bounds.ts";
import { compression, localSteps, outer, zero } from "./exchange.ts";
import { optimizer } from "./optimizer.ts";

const earlyStopping = z
  .strictObject({
    patience: upTo(1_000_000).default(3).describe("Validations without an improvement after which the run ends."),
    min_delta: z.number().min(0).default(0).describe("What counts as an improvement: more than this."),
    metric: z
      .enum(stoppingMetrics)
      .default("loss")
      .describe(
        "Of the validation. loss, and perplexity of language models, are better when they are lower; accuracy, f1, f1_macro, f1_micro, precision and recall, of tasks with labels, when they are higher. See docs/evaluation.md.",
      ),
  })
  .describe(
    "End the run when its validations no longer become better. With this section, also an empty one ({}), every validation has a checkpoint, and the run's best points to the best of them.",
  );

export const train = z
  .strictObject({
    steps: upTo(1_000_000_000).optional().describe("Optimizer steps. Give this or epochs."),
    epochs: z
      .number()
      .positive()
      .max(1_000_000)
      .optional()
      .describe("Passes over the training data. Give this or steps."),
    global_batch: upTo(1_000_000)
      .default(16)
      .describe("Sequences per optimizer step, over all workers. The maths does not depend on the number of workers."),
    microbatch: upTo(1_000_000)
      .default(8)
      .describe("Sequences that a worker computes at once; more are accumulated. Must divide global_batch."),
    sequence_length: z
      .int()
      .min(2)
      .max(1_048_576)
      .default(128)
      .describe("Tokens per sequence; at most the model's positions."),
    optimizer: optimizer.prefault({}),
    learning_rate: z.number().positive().default(1e-3).describe("Peak learning rate."),
    schedule: z
      .enum(["constant", "linear", "cosine"])
      .default("cosine")
      .describe("Decay after the warmup, down to min_learning_rate at the last step."),
    min_learning_rate: z.number().min(0).default(0).describe("Where the decay ends; at most learning_rate."),
    warmup_steps: z
      .int()
      .min(0)
      .default(0)
      .describe(
        "Steps of linear warmup. The first step has learning rate 0 when there is any, as in Hugging Face's schedules.",
      ),
    warmup_ratio: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe("Warmup as a share of all steps, rounded up, instead of warmup_steps."),
    freeze: z
      .array(z.string().min(1))
      .default([])
      .describe(
        'Parameters that stay as they are, by patterns over their names: ["transformer.wte.*", "transformer.h.[0-3].*"].',
      ),
    bit_identical: z
      .boolean()
      .default(false)
      .describe(
        "Losses and weights that are equal to the last bit at any number of workers and after any faults: batches are divided in whole microbatches, and gradients are summed as integers of 64 bits. Costs twice the bytes of the all-reduce; needs cluster.device cpu (or wasm) and a number of cluster.threads. See docs/reproducibility.md.",
      ),
    overlap: z
      .enum(["auto", "on", "off"])
      .default("auto")
      .describe(
        "Whether gradients are reduced in buckets while the backward pass computes others. auto does so between hosts; within one, where the sums need the same processors, one piece is faster. On the CPU only: GPUs give all gradients at the end. See docs/overlap.md.",
      ),
    bucket_mb: z
      .number()
      .positive()
      .max(1000)
      .optional()
      .describe(
        "Megabytes of gradients that are reduced together with train.overlap. Left out: an eighth of all, at least 1 and at most 25.",
      ),
    recompute: z
      .enum(["none", "blocks"])
      .default("none")
      .describe(
        "blocks keeps only the input of every block and computes its activations again in the backward pass: less memory for up to a fifth more time. See docs/precision.md.",
      ),
    precision: z
      .enum(precisions)
      .default("fp32")
      .describe(
        "What matrix products compute in; weights, gradients, the optimizer and validation are always fp32. fp16 scales the loss; bf16 is for cuda and tensorrt. For GPUs: a CPU becomes slower. See docs/precision.md.",
      ),
    dropout: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe(
        "Share of activations and attention probabilities that is dropped in training, wherever the architecture has dropout. Left out: the rates of model.from's config.json, or none from scratch. See docs/regularisation.md.",
      ),
    label_smoothing: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe(
        "Share of every target's probability that is spread evenly over the vocabulary or the labels, in the training loss (Szegedy et al., 2016); validation is without.",
      ),
    compression: compression.prefault({}),
    local_steps: localSteps,
    zero,
    outer: outer.prefault({}),
    clip: z.number().positive().nullable().default(1).describe("Largest global gradient norm; null does not clip."),
    eval_every: z
      .int()
      .min(0)
      .default(100)
      .describe("Steps between validations; 0 validates only before the first step and after the last."),
    early_stopping: earlyStopping.optional(),
    eval_sequences: upTo(1_000_000_000)
      .default(256)
      .describe("At most so many validation sequences, evenly spaced over the validation set."),
    seed: z.int().min(0).default(0).describe("Seed of the split, the order of samples and the initial weights."),
  })
  .describe("The optimisation.");
