// Which settings a run may change when it goes on: those that do not alter what the steps done so far were made of.
// Length, learning rate and schedule, cluster, checkpoint and metrics are free.

import { RingtuneError } from "../errors.ts";
import { fields } from "./fields.ts";
import { valueAt } from "./raw.ts";
import type { Config } from "./schema.ts";

/**
 * Of the sections task, model, tokenizer, data and lora everything counts but the cache and what only metrics are of; of
 * train, what shapes the stream of samples.
 */
function isFixed(path: string): boolean {
  if (path === "data.cache" || path === "task.positive_label") return false;
  if (/^(task|model|tokenizer|data|lora)\./.test(path)) return true;
  return (
    ["train.global_batch", "train.sequence_length", "train.seed", "train.freeze", "train.bit_identical"].includes(
      path,
    ) ||
    // What state the optimizer keeps, and which of them.
    ["train.optimizer.name", "train.optimizer.momentum", "train.local_steps", "train.outer.momentum"].includes(path)
  );
}

function isFixedIn({ train }: Config): (path: string) => boolean {
  return (path) => isFixed(path) || (train.bit_identical && decidesBits.has(path));
}

/** What decides the last bits of a result, and nothing else: fixed in a run that is to be bit-identical. */
const decidesBits: ReadonlySet<string> = new Set([
  ...["train.microbatch", "train.precision", "train.recompute"],
  ...["cluster.engine", "cluster.device", "cluster.threads"],
]);

/** What workers were told when they came, and go on with if they are not started anew. */
function isToldOnce(path: string): boolean {
  return /^train\.(optimizer\.|compression\.|outer\.|precision$|label_smoothing$|dropout$|recompute$|overlap$|bucket_mb$|zero$)/.test(
    path,
  );
}

/**
 * Throws RingtuneError `config_invalid` with every setting in which `now` differs from the run's own and must not.
 * `run` names the run in the sentence; `inPlace`: its workers are still there.
 */
export function assertResumable(saved: Config, now: Config, run: string, inPlace = false): void {
  const isFixedHere = isFixedIn(saved);
  const counts = (path: string): boolean => isFixedHere(path) || (inPlace && isToldOnce(path));
  const changed = [...fields.keys()].filter(counts).flatMap((path) => {
    const [before, after] = [saved, now].map(
      (config) => JSON.stringify(valueAt(config, path.split("."))) ?? "left out",
    );
    return before === after ? [] : [`${path}: ${after} now, ${before} in the run`];
  });
  if (changed.length === 0) return;
  const message = `the configuration does not fit the run ${run}: it would not go on but become another; change it back, or train into a new run`;
  const list = changed.length === 1 ? ` (${changed[0]})` : `\n${changed.map((line) => `  ${line}`).join("\n")}`;
  throw new RingtuneError("config_invalid", message + list, { details: { run, problems: changed.length } });
}
