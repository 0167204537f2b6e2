// `train.optimizer`: the update rules, each with the names and defaults of torch.optim.

import { z } from "zod";

const weightDecay = (preset: number) =>
  z
    .number()
    .min(0)
    .default(preset)
    .describe(
      "Decay of parameters with two or more dimensions: adamw decouples it, the others add it times the weight to the gradient.",
    );
const momentum = z
  .number()
  .min(0)
  .lt(1)
  .default(0)
  .describe("Decay of the running sum of updates; 0 keeps none and needs no memory for it.");
const epsilon = z.number().positive().default(1e-8).describe("Added to the root of the mean square.");
const moments = {
  beta1: z.number().min(0).lt(1).default(0.9).describe("Decay of the mean of the gradients."),
  beta2: z.number().min(0).lt(1).default(0.999).describe("Decay of the mean of the squared gradients."),
  epsilon,
};

export const optimizer = z
  .discriminatedUnion("name", [
    z.strictObject({
      name: z.literal("adamw").optional().default("adamw").describe("The algorithm, as in torch.optim."),
      ...moments,
      weight_decay: weightDecay(0.01),
    }),
    z.strictObject({ name: z.literal("adam"), ...moments, weight_decay: weightDecay(0) }),
    z.strictObject({
      name: z.literal("sgd"),
      momentum,
      nesterov: z.boolean().default(false).describe("Look ahead along the momentum, which must be above 0."),
      weight_decay: weightDecay(0),
    }),
    z.strictObject({
      name: z.literal("rmsprop"),
      alpha: z.number().min(0).lt(1).default(0.99).describe("Decay of the mean of the squared gradients."),
      epsilon,
      momentum,
      weight_decay: weightDecay(0),
    }),
  ])
  .describe("The update rule. Each has torch.optim's defaults, so weight decay is off but for adamw.");
