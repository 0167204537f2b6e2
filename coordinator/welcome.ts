// What every worker of a run is told when it comes: the model, the tokenizer, what is trained and how, in the words of the
// configuration. Its own name is the session's to give.

import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import type { Config } from "../common/config/schema.ts";
import type { PreparedData } from "./data/prepare.ts";
import type { DriverHost } from "./rpc/driver.ts";
import type { Sources } from "./sources.ts";

export async function welcomeOf(options: {
  readonly config: Config;
  /** Name of the run. */
  readonly jobId: string;
  readonly data: Pick<PreparedData, "tokenizer" | "tokenizerConfigJson" | "task">;
  /** Hugging Face config.json. */
  readonly modelConfigJson: string;
  readonly onHub: Sources["onHub"];
}): Promise<DriverHost["welcome"]> {
  const { config, jobId, data, modelConfigJson, onHub } = options;
  const { cluster, train } = config;
  return {
    jobId,
    recoverSeconds: cluster.recover_s,
    heartbeatSeconds: cluster.heartbeat_s,
    engine: cluster.engine,
    device: cluster.device,
    threads: cluster.threads === "auto" ? 0 : cluster.threads,
    modelConfigJson,
    tokenizerJson: data.tokenizer.json,
    tokenizerConfigJson: data.tokenizerConfigJson,
    optimizerJson: JSON.stringify(train.optimizer),
    seed: train.seed,
    trainingJson: trainingSettings(config, onHub),
    baseModelPath: await baseModelPath(config),
    taskJson: JSON.stringify(data.task),
  };
}

/** Without links, because a `latest` moves on; PEFT finds the model by it later. */
async function baseModelPath({ lora, model }: Config): Promise<string> {
  if (lora === undefined || model.from === undefined) return "";
  return realpath(model.from).catch(() => resolve(model.from ?? ""));
}

/** What workers have to know of what is trained and how, in the configuration's own words. */
function trainingSettings({ lora, train }: Config, onHub: Sources["onHub"]): string {
  const { freeze, label_smoothing, recompute, precision } = train;
  const { bit_identical, overlap, bucket_mb, compression, local_steps, outer, zero } = train;
  const exchanged = { bit_identical, overlap, bucket_mb, compression, local_steps, outer, zero };
  return JSON.stringify({ lora, freeze, label_smoothing, recompute, precision, ...exchanged, onHub });
}
