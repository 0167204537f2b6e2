// The model and the tokenizer that a configuration names, on this machine: those of the Hub are downloaded, or found in
// the cache, before anything else of a run takes long.

import type { Config } from "../common/config/schema.ts";
import { obtain, type Obtained } from "../common/hub/obtain.ts";
import type { Progress } from "./progress.ts";

export interface Sources {
  /** The configuration with folders in place of names of the Hub. */
  readonly config: Config;
  /** What model.from is on the Hub, if it is from there: adapters name it. */
  readonly onHub: Obtained["hub"];
}

export interface SourcesOptions {
  /** A run that goes on has its tokenizer and, unless it trains an adapter, its weights; the base must be the same one. */
  readonly resumed: boolean;
  readonly progress: Pick<Progress, "notice" | "data">;
  readonly signal: AbortSignal;
}

/** Throws `download_failed` or `disk_failed`. */
export async function obtainSources(config: Config, { resumed, progress, signal }: SourcesOptions): Promise<Sources> {
  const { model, tokenizer, lora } = config;
  const shared = {
    env: process.env,
    signal,
    preferCached: resumed,
    onNotice: (line: string) => progress.notice(line),
    onProgress: (state: Parameters<Progress["data"]>[0]) => progress.data(state),
  };
  const from = resumed && lora === undefined ? undefined : model.from;
  const found =
    from === undefined ? undefined : await obtain(from, { ...shared, need: "model", revision: model.revision });
  const words = resumed ? undefined : tokenizer.from;
  const tokens = words === undefined ? undefined : await obtain(words, { ...shared, need: "tokenizer" });
  return {
    config: {
      ...config,
      model: found === undefined ? model : { ...model, from: found.path },
      tokenizer: tokens === undefined ? tokenizer : { ...tokenizer, from: tokens.path },
    },
    onHub: found?.hub,
  };
}
