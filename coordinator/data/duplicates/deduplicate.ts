// What a configuration wants done with near duplicates: nothing, keep them on one side of the split, or drop all but the
// first; and what the user is told about them. Finding them is near-duplicates.ts.

import type { Config } from "../../../common/config/schema.ts";
import type { Document } from "../document.ts";
import type { ProgressOptions } from "../progress.ts";
import { findNearDuplicates, type NearDuplicates } from "./near-duplicates.ts";

export interface Deduplicated {
  readonly documents: readonly Document[];
  /** For each document the first of its group, which the split must not divide; undefined where there are none to heed. */
  readonly groupOf: Uint32Array | undefined;
}

export interface DeduplicateOptions extends ProgressOptions {
  /** Lines for the user: how many were found, and what was done. */
  readonly onNotice: (line: string) => void;
}

/** group where texts are classified, because copies are common there and flatter the validation; keep elsewhere. */
export function nearDuplicatePolicy({ data, task }: Pick<Config, "data" | "task">): "keep" | "group" | "drop" {
  return data.near_duplicates ?? (task.kind === "classification" ? "group" : "keep");
}

/** Equal documents, settings and seed give equal groups. */
export async function deduplicate(
  documents: readonly Document[],
  config: Pick<Config, "data" | "task" | "train">,
  options: DeduplicateOptions,
): Promise<Deduplicated> {
  const policy = nearDuplicatePolicy(config);
  if (policy === "keep") return { documents, groupOf: undefined };
  const threshold = config.data.near_duplicate_threshold;
  const found = await findNearDuplicates(documents, { ...options, threshold, seed: config.train.seed });
  const done =
    policy === "drop"
      ? `${show(found.duplicates)} dropped, the first of each group kept`
      : "each group is on one side of the split";
  options.onNotice(
    found.groups === 0
      ? `data: no near duplicates among ${show(documents.length)} documents (similarity ${threshold})`
      : `data: ${show(found.duplicates)} of ${show(documents.length)} documents are near duplicates of others (${show(found.exact)} exact; similarity ${threshold}), in ${found.groups === 1 ? "1 group" : `${show(found.groups)} groups`}: ${done}`,
  );
  const conflict = describeConflicts(documents, found);
  if (conflict !== undefined) options.onNotice(`data: ${conflict}`);
  if (policy === "group") return { documents, groupOf: found.groupOf };
  return { documents: documents.filter((_, i) => found.groupOf[i] === i), groupOf: undefined };
}

/** Groups whose documents have different labels: one of them is likely wrong. */
function describeConflicts(documents: readonly Document[], { groupOf }: NearDuplicates): string | undefined {
  const conflicting = new Map<number, number>();
  for (const [i, document] of documents.entries()) {
    const first = groupOf[i] ?? i;
    if (document.label !== documents[first]?.label && !conflicting.has(first)) conflicting.set(first, i);
  }
  const [example] = conflicting;
  if (example === undefined) return undefined;
  const [first, other] = example.map((i) => documents[i]);
  const groups =
    conflicting.size === 1 ? "1 group of near duplicates has" : `${conflicting.size} groups of near duplicates have`;
  return `${groups} more than one label, such as ${first?.id} (${first?.label}) and ${other?.id} (${other?.label})`;
}

function show(value: number): string {
  return value.toLocaleString("en-US");
}
