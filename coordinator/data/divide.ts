// The documents of a run in their two parts, as its configuration has it: near duplicates first, then the split. What
// trains a model and what trains the baseline beside it (`ringtune baseline`) both come from here, so the parts are equal.

import type { Config } from "../../common/config/schema.ts";
import { digestOf, type Document } from "./document.ts";
import { deduplicate, type DeduplicateOptions, nearDuplicatePolicy } from "./duplicates/deduplicate.ts";
import { splitDocuments } from "./split.ts";

export interface Division {
  readonly train: readonly Document[];
  /** Empty when data.validation_fraction is 0. */
  readonly validation: readonly Document[];
  /** What the parts are made from, for the keys of a cache: documents, labels and settings. */
  readonly origin: readonly (string | number)[];
}

/** @throws RingtuneError data_invalid when there is too little to divide; the signal's reason when it is aborted */
export async function divideDocuments(
  documents: readonly Document[],
  config: Pick<Config, "data" | "task" | "train">,
  options: DeduplicateOptions,
): Promise<Division> {
  const { data, task, train } = config;
  const policy = nearDuplicatePolicy(config);
  const stratify = task.kind === "classification";
  const origin = [
    digestOf(documents),
    data.validation_fraction,
    train.seed,
    ...(policy === "keep" ? [] : [policy, data.near_duplicate_threshold]),
    ...(stratify ? [JSON.stringify(documents.map(({ label }) => label ?? ""))] : []),
  ];
  const { documents: kept, groupOf } = await deduplicate(documents, config, options);
  const split = splitDocuments(kept, data.validation_fraction, train.seed, { groupOf, stratify });
  if (split.notice !== undefined) options.onNotice(`data: ${split.notice}`);
  return { train: split.train, validation: split.validation, origin };
}
