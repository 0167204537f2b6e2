// Looks for the coordinator: goes round the addresses until one takes the worker, with pauses between the rounds that differ
// and, after some seconds, grow, so that a thousand workers that lost the same coordinator do not call it in the same
// moment. A coordinator that is started again at once is there within those seconds, and keeps callers on the line until it
// is ready: of a short pause little is lost, of a long one much.

import { setTimeout as pause } from "node:timers/promises";
import { RingtuneError } from "../../common/errors.ts";

/** Between two rounds at first, and at most; each is shortened by up to a half. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;
/** So long they do not grow. */
const EAGER_MS = 5000;

export interface Search<T> {
  /** host:port, of all coordinators that may lead. */
  readonly addresses: readonly string[];
  readonly withinMs: number;
  /** One call. */
  readonly attempt: (address: string, timeoutMs: number) => Promise<T>;
  /** Errors that another address, or a later call, may not have. */
  readonly isPassing: (error: RingtuneError) => boolean;
  readonly signal: AbortSignal;
}

/** The first success. Throws the first error that does not pass, the last one when the time is over, or the signal's reason. */
export async function findCoordinator<T>(search: Search<T>): Promise<T> {
  const { addresses, withinMs, attempt, isPassing, signal } = search;
  const began = performance.now();
  const deadline = began + withinMs;
  let longest = FIRST_PAUSE_MS;
  let now = began;
  for (;;) {
    let last: RingtuneError | undefined;
    for (const address of addresses) {
      signal.throwIfAborted();
      try {
        return await attempt(address, Math.max(1, Math.round(deadline - now)));
      } catch (error) {
        if (!(error instanceof RingtuneError) || !isPassing(error)) throw error;
        last = error;
      }
      now = performance.now();
    }
    const length = longest * (1 - Math.random() / 2);
    if (now + length >= deadline) throw last ?? new RingtuneError("usage", "there is no address to call");
    await pause(length, undefined, { signal }).catch(() => signal.throwIfAborted());
    now = performance.now();
    if (now - began > EAGER_MS) longest = Math.min(2 * longest, LONGEST_PAUSE_MS);
  }
}

/** The addresses in their order, from the one after `lost` on: there it was last, and is the least likely to be. */
export function startingAfter(lost: string | undefined, addresses: readonly string[]): readonly string[] {
  const next = lost === undefined ? 0 : addresses.indexOf(lost) + 1;
  return [...addresses.slice(next), ...addresses.slice(0, next)];
}

/** Nobody is there, or nobody that takes workers now. */
export function isPassing({ code }: RingtuneError): boolean {
  return code === "unavailable" || code === "worker_lost" || code === "timed_out";
}
