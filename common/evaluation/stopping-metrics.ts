// The metrics of a validation by which a run may end early, and which way each is better.

import type { Config } from "../config/schema.ts";
import { labelMetrics } from "./scoring.ts";

/** Every metric that some task has. */
export const stoppingMetrics = ["loss", "perplexity", ...labelMetrics] as const;

export type StoppingMetric = (typeof stoppingMetrics)[number];

/** Those that validations of a task have. */
export function metricsOfTask(kind: Config["task"]["kind"]): readonly StoppingMetric[] {
  return kind === "classification" || kind === "tagging" ? ["loss", ...labelMetrics] : ["loss", "perplexity"];
}

/** Losses are better when they are lower, shares of what is right when they are higher. */
export function isBetter(metric: StoppingMetric, value: number, than: number): boolean {
  return metric === "loss" || metric === "perplexity" ? value < than : value > than;
}
