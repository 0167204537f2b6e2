// What a coordinator that stands by does while another leads: it prepares the data of the run, so that it need not when it
// is elected. It reads the run directory and changes nothing in it; whether the data are those that the run began with is
// looked at when they are used, as always (earlier-run.ts).

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../common/config/schema.ts";
import { describeError } from "../common/errors.ts";
import { prepareData, type PreparedData, type PrepareOptions } from "./data/prepare.ts";
import { readData, readEarlierModel, readTokenizer } from "./earlier-run.ts";
import type { Progress } from "./progress.ts";
import { obtainSources } from "./sources.ts";
import { readLatest } from "./store/checkpoints.ts";

export interface Ahead {
  /** What was prepared, if it is of the same settings; waits for what is under way. */
  take(config: Config, options: PrepareOptions): Promise<PreparedData | undefined>;
}

const lookEveryMs = 500;

/** Begins when the coordinator that leads the run in the folder `path` has prepared its data. */
export function prepareAhead(options: {
  readonly config: Config;
  readonly path: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}): Ahead {
  const { config: given, path, progress, signal } = options;
  const taken = new AbortController();
  let key: string | undefined;

  async function prepare(): Promise<PreparedData | undefined> {
    // Written when all else is there.
    while ((await stat(join(path, "data.json")).catch(() => undefined)) === undefined) {
      await delay(lookEveryMs, undefined, { signal: AbortSignal.any([signal, taken.signal]) });
    }
    const checkpoint = await readLatest(path).catch(() => undefined);
    const directory = { path, checkpoint, file: (name: string) => join(path, name) };
    const { config } = await obtainSources(given, { resumed: checkpoint !== undefined, progress, signal });
    const prepareOptions: PrepareOptions = {
      onNotice: (line) => progress.notice(line),
      onProgress: (state) => progress.data(state),
      signal,
      tokenizer: await readTokenizer(directory),
      made: (await readData(directory)).origin,
      model: await readEarlierModel(config, directory),
    };
    key = keyOf(config, prepareOptions);
    return prepareData(config, prepareOptions);
  }

  const prepared = prepare().catch((error: unknown) => {
    if (signal.aborted || taken.signal.aborted) return undefined;
    progress.notice(
      `could not prepare the data ahead (${describeError(error)}); it is done when this coordinator leads`,
    );
    return undefined;
  });
  return {
    async take(config, prepareOptions) {
      taken.abort();
      const data = await prepared;
      return key === keyOf(config, prepareOptions) ? data : undefined;
    },
  };
}

/** What prepared data depend on, beside the files of the data. */
function keyOf({ task, data, train, model }: Config, { tokenizer, model: earlier }: PrepareOptions): string {
  const { sequence_length, seed } = train;
  const { labels, tokenTypes } = earlier ?? {};
  const { json, configJson } = tokenizer ?? {};
  return JSON.stringify({ task, data, sequence_length, seed, model, labels, tokenTypes, json, configJson });
}
