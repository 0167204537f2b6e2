// The configuration of a run: one YAML file, validated here. The documentation of a field is its `describe`, in the file of its
// section; `ringtune config schema` prints it as JSON Schema. Combinations of fields are checked in rules.ts.

import { z } from "zod";
import { cluster } from "./sections/cluster.ts";
import { data, task, tokenizer } from "./sections/data.ts";
import { lora, model } from "./sections/model.ts";
import { checkpoint, metrics } from "./sections/results.ts";
import { train } from "./sections/train.ts";

export const configSchema = z.strictObject({
  task: task.prefault({}),
  model: model.prefault({}),
  tokenizer: tokenizer.prefault({}),
  data: data.prefault({}),
  train: train.prefault({}),
  lora: lora.optional(),
  cluster: cluster.prefault({}),
  checkpoint: checkpoint.prefault({}),
  metrics: metrics.prefault({}),
});

/** A validated configuration with every default filled in. */
export type Config = z.infer<typeof configSchema>;
