// What of `train` decides how often workers exchange what they have learned, and in how many bytes: see docs/compression.md.

import { z } from "zod";
import { upTo } from "./bounds.ts";

export const compression = z
  .discriminatedUnion("method", [
    z.strictObject({
      method: z
        .literal("none")
        .optional()
        .default("none")
        .describe(
          "How gradients travel between workers: as they are; in half the bytes as bf16 or fp16; in a quarter as int8, with a scale for every 256; only the largest of them (topk); or as products of thin matrices (powersgd). What a message leaves out is added to the next gradient. For networks that are slower than the computation.",
        ),
    }),
    z.strictObject({ method: z.literal("bf16") }),
    z.strictObject({ method: z.literal("fp16") }),
    z.strictObject({ method: z.literal("int8") }),
    z.strictObject({
      method: z.literal("topk"),
      share: z
        .number()
        .gt(0)
        .max(0.5)
        .default(0.01)
        .describe("Share of the gradients that every worker sends, 8 bytes each to each other worker."),
    }),
    z.strictObject({
      method: z.literal("powersgd"),
      rank: upTo(64)
        .default(4)
        .describe(
          "Columns of the two thin matrices. Matrices that are not larger than these, and vectors, travel as they are.",
        ),
    }),
  ])
  .describe("Gradients in fewer bytes, with error feedback; see docs/compression.md.");

export const localSteps = upTo(100_000)
  .default(1)
  .describe(
    "Optimizer steps that every worker takes alone, on its part of each batch, before the workers exchange how far they came and take the mean of it as one step of an outer optimizer (DiLoCo; Douillard et al., 2023). 1 exchanges gradients at every step. With 100 workers exchange a hundredth of the bytes. Validations and checkpoints come at the end of such a round. See docs/compression.md.",
  );

export const zero = z
  .union([z.literal(0), z.literal(1)])
  .default(0)
  .describe(
    "1 keeps trained weights and optimizer state once for all workers of a host, in memory that they share, and each of them updates its share (ZeRO, stage 1). Same results, to the last bit; the memory and the time of the optimizer are divided by the workers of a host. 0 keeps both whole in every worker. See docs/zero.md.",
  );

export const outer = z
  .strictObject({
    learning_rate: z
      .number()
      .positive()
      .max(10)
      .default(0.7)
      .describe("Share of the mean distance that the workers came in a round, which the weights move."),
    momentum: z
      .number()
      .min(0)
      .lt(1)
      .default(0.9)
      .describe("Nesterov momentum over rounds; 0 has none, and with learning_rate 1 takes the mean of the weights."),
  })
  .describe("The outer optimizer of train.local_steps.");
