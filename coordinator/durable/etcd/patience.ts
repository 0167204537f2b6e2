// Waiting for etcd: tries again until it answers, says so when that takes long, and gives up after a stated time. What is
// tried must not matter when it is done twice: an attempt without an answer may have been carried out.

import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../../common/errors.ts";

export interface Patience {
  /** Infinity waits as long as it takes. */
  readonly limitMs: number;
  readonly notice: (sentence: string) => void;
  readonly signal?: AbortSignal;
}

const pauseMs = 100;
/** A member that is restarted or a new leader of etcd is no news. */
const sayAfterMs = 2000;

/** `doing` completes sentences: "write the state of the run". Throws `unavailable`, or what `attempt` throws otherwise. */
export async function persist<T>(doing: string, patience: Patience, attempt: () => Promise<T>): Promise<T> {
  const { limitMs, notice, signal } = patience;
  const began = performance.now();
  let said = false;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const result = await attempt();
      if (said) notice(`etcd answers again, after ${seconds(performance.now() - began)}`);
      return result;
    } catch (error) {
      if (!(error instanceof RingtuneError) || error.code !== "unavailable") throw error;
      const waitedMs = performance.now() - began;
      if (waitedMs >= limitMs) {
        const sentence = `could not ${doing} within ${seconds(limitMs)} (cluster.store.timeout_s): ${error.message}`;
        throw new RingtuneError("unavailable", sentence, { cause: error });
      }
      if (!said && waitedMs >= Math.min(sayAfterMs, limitMs / 2)) {
        said = true;
        const most = limitMs === Infinity ? "as long as it takes" : `${seconds(limitMs)} at most`;
        notice(`waiting to ${doing}, ${most}: ${error.message}`);
      }
    }
    await delay(pauseMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(1))} s`;
}
