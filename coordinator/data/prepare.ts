// From a config to samples, whatever the task: text that is learned as it is, or data that says what to answer.

import { hasLabels } from "../../common/task.ts";
import type { DataConfig, PreparedData, PrepareOptions } from "./prepared.ts";

export type { DataOrigin, DataSummary, PreparedData, PrepareOptions } from "./prepared.ts";

/**
 * @throws RingtuneError data_invalid, tokenizer_invalid, config_invalid; the signal's reason when it is aborted
 */
export async function prepareData(config: DataConfig, options: PrepareOptions): Promise<PreparedData> {
  const isSupervised = config.task.kind === "instruction" || hasLabels(config.task);
  return isSupervised
    ? (await import("./supervised.ts")).prepareSupervised(config, options)
    : (await import("./text.ts")).prepareText(config, options);
}
