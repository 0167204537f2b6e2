// Names the samples that a run failed on: the core knows their places in the stream only, the data knows where they are from.

import type { Config } from "../common/config/schema.ts";
import type { BlamedSamples, End } from "./core/state.ts";
import type { PreparedData } from "./data/prepare.ts";
import { createSampler, evenlySpaced } from "./data/sampler.ts";

/** Samples whose sources the sentence of a failure names. */
const SAMPLES_NAMED = 4;

/**
 * The outcome with the sources of the first samples in its sentence, if it is about samples. `readAgain` reads the documents
 * of data that came from the cache without them.
 */
export async function nameSamples(
  outcome: End,
  config: Config,
  data: PreparedData,
  readAgain: () => Promise<PreparedData>,
): Promise<End> {
  if (outcome.kind !== "failed" || outcome.samples === undefined) return outcome;
  const { positions } = outcome.samples;
  const named = namesOf(outcome.samples, config, await withSources(data, readAgain));
  if (named.length === 0) return outcome;
  const more = positions.length > named.length ? ` and ${positions.length - named.length} more` : "";
  return { ...outcome, reason: `${outcome.reason} (${named.join("; ")}${more})` };
}

/** The data that is there now is of no use if it is another. */
async function withSources(data: PreparedData, readAgain: () => Promise<PreparedData>): Promise<PreparedData> {
  if (data.train.sourceOf !== undefined) return data;
  const again = await readAgain().catch(() => data);
  return again.summary.digest === data.summary.digest ? again : data;
}

function namesOf({ part, positions }: BlamedSamples, config: Config, data: PreparedData): string[] {
  const sampler = createSampler({ sampleCount: data.train.sampleCount, seed: config.train.seed });
  const rows = evenlySpaced(data.validation?.sampleCount ?? 0, config.train.eval_sequences);
  return positions.slice(0, SAMPLES_NAMED).flatMap((position) => {
    const dataset = part === "training" ? data.train : data.validation;
    const source = dataset?.sourceOf?.(part === "training" ? sampler.sampleAt(position).index : (rows[position] ?? 0));
    return source === undefined ? [] : `${part === "training" ? "" : "validation "}sample ${position}: ${source}`;
  });
}
