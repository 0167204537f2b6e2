// The classification part of a config.json: which labels there are, and whether a sequence may have several.

import { z } from "zod";
import type { HeadKind } from "../../common/model-classes.ts";
import { configMismatch, parseConfig } from "./config.ts";
import type { Head } from "./model.ts";

const schema = z.object({
  id2label: z.record(z.string(), z.string()).optional(),
  num_labels: z.int().optional(),
  problem_type: z.enum(["single_label_classification", "multi_label_classification"]).nullish(),
});

/** The head that a config.json describes. Throws `model_mismatch` for labels that it cannot have. */
export function parseHead(kind: HeadKind, modelType: string, json: object, where: string): Head {
  if (kind === "causal-lm" || kind === "masked-lm") return { kind };
  const parsed = parseConfig(schema, modelType, json, where);
  const multiLabel = parsed.problem_type === "multi_label_classification";
  // transformers gives a model two labels when its config names none.
  const labels = Object.keys(parsed.id2label ?? {}).length || (parsed.num_labels ?? 2);
  const least = kind === "sequence-classification" && multiLabel ? 1 : 2;
  if (labels < least) {
    const problem = `it has ${labels} labels, ${kind} needs ${least} or more (regression is not supported)`;
    throw configMismatch(modelType, where, [problem]);
  }
  return kind === "token-classification" ? { kind, labels } : { kind, labels, multiLabel };
}
