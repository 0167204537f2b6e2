// A lease that is kept alive, and what is known of it without asking: it was renewed for its whole length at some moment
// after the request left, so until then plus its length nobody else can have been elected. A process that was stopped
// finds that this moment has passed, whatever etcd would answer.
//
//     request leaves       answer           request leaves
//     |--------------------|-------- ... ---|
//     |<----------------- ttl ------------------------->| holds() is true until here

import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../../common/errors.ts";
import type { Etcd } from "./client.ts";
import { persist, type Patience } from "./patience.ts";

export interface Lease {
  /** As etcd calls it. */
  readonly id: string;
  readonly ttlMs: number;
  /** Nobody else can have been elected. */
  holds(): boolean;
  /** Resolves as soon as it holds, at once if it does; rejects when it is lost. */
  assure(): Promise<void>;
  /** Aborted with RingtuneError `superseded` when it has run out, or `unavailable` when etcd has not answered for too long. */
  readonly lost: AbortSignal;
  /** Gives it back; nothing is reported any more. */
  end(): Promise<void>;
}

/** So often within its length a lease is renewed: two requests may fail. */
const renewals = 4;

/** Takes a lease of so many seconds, or of as many as etcd gives at least. */
export async function keepLease(etcd: Etcd, seconds: number, patience: Patience): Promise<Lease> {
  let validUntilMs = 0;
  const { lease: id, ttlMs } = await persist("take a lease", patience, async () => {
    const sentMs = performance.now();
    const granted = await etcd.grant(seconds);
    validUntilMs = sentMs + granted.ttlMs;
    return granted;
  });
  const loss = new AbortController();
  const end = new AbortController();
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    const woken = waiting;
    waiting = [];
    woken.forEach((resolve) => resolve());
  };
  const holds = (): boolean => !loss.signal.aborted && performance.now() < validUntilMs;

  async function renew(): Promise<void> {
    let sentMs = performance.now();
    const left = await persist("renew the lease", { ...patience, signal: end.signal }, () => {
      sentMs = performance.now();
      return etcd.keepAlive(id);
    });
    if (left === 0) {
      const ago = ((sentMs - (validUntilMs - ttlMs)) / 1000).toFixed(1);
      const sentence = `the lease of this coordinator has run out: it lasts ${ttlMs / 1000} s and was renewed ${ago} s ago`;
      throw new RingtuneError("superseded", sentence);
    }
    validUntilMs = sentMs + left;
  }

  async function keep(): Promise<void> {
    try {
      for (;;) {
        await delay(ttlMs / renewals, undefined, { signal: end.signal });
        await renew();
        wake();
      }
    } catch (error) {
      if (!end.signal.aborted) loss.abort(error);
      wake();
    }
  }

  void keep();
  return {
    id,
    ttlMs,
    holds,
    async assure() {
      while (!holds()) {
        loss.signal.throwIfAborted();
        if (end.signal.aborted) throw new RingtuneError("cancelled", "the lease was given back");
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
    lost: loss.signal,
    async end() {
      end.abort();
      validUntilMs = 0;
      wake();
      if (!loss.signal.aborted) await etcd.revoke(id).catch(() => undefined); // it runs out by itself
    },
  };
}
