// How far a long computation on the data is, four times a second, with a pause in which the process can do other things
// (answer Ctrl-C). Prints nothing.

import { setImmediate as nextTurn } from "node:timers/promises";

export interface DataProgress {
  /** duplicates: looked for. words: counted for the tokenizer. merges: learned by it. tokens, samples: made of documents or lines. */
  readonly phase: "duplicates" | "words" | "merges" | "tokens" | "samples";
  /** Documents or characters read, or merges or samples made. */
  readonly done: number;
  /** Undefined where it is not known beforehand. */
  readonly total: number | undefined;
  /** Documents, characters, merges or samples per second since the phase began. */
  readonly perSecond: number;
}

export interface ProgressOptions {
  readonly onProgress?: ((progress: DataProgress) => void) | undefined;
  /** Aborting rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const intervalMs = 250;

/** The function returned is cheap enough to await after every small piece of work. */
export function createReporter(
  phase: DataProgress["phase"],
  total: number | undefined,
  { onProgress, signal }: ProgressOptions,
): (done: number) => Promise<void> | undefined {
  signal?.throwIfAborted();
  const startMs = performance.now();
  let nextMs = startMs + intervalMs;
  return (done) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return undefined;
    nextMs = nowMs + intervalMs;
    onProgress?.({ phase, done, total, perSecond: (done / (nowMs - startMs)) * 1000 });
    return nextTurn().then(() => signal?.throwIfAborted());
  };
}
