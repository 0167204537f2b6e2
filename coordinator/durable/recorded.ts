// Records on their way to metrics.jsonl. A record is kept as a fact beside the step that it is of, in one of a few places
// that are used again and again; after a crash, those that did not reach the file are there. A place is used again only
// when the file has survived with what was in it, so a run has exactly one record of each committed step, whatever happens.

import type { RunRecord } from "../../common/records.ts";
import type { Facts, Json } from "./store.ts";

/** Records that are kept. */
export const RECORDS_KEPT = 64;

/** Records between two syncs of metrics.jsonl. */
export const SYNC_EVERY = RECORDS_KEPT / 2;

/** The fact of record `number`, counted from 1 since the coordinator started. */
export function recordFact(number: number, record: RunRecord): Facts {
  return { [`${prefix}${number % RECORDS_KEPT}`]: { number, record: record as unknown as Json } };
}

const prefix = "record ";

/** None, in any place. */
export const noRecords: Facts = Object.fromEntries(
  Array.from({ length: RECORDS_KEPT }, (_, place) => [`${prefix}${place}`, null]),
);

/** Those that are kept, in order. */
export function keptRecords(facts: Facts): readonly RunRecord[] {
  const kept = Object.entries(facts).flatMap(([name, value]) =>
    name.startsWith(prefix) && value !== null ? [value as unknown as { number: number; record: RunRecord }] : [],
  );
  kept.sort((a, b) => a.number - b.number);
  return kept.map(({ record }) => record);
}
