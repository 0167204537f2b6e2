// What sums a step's buckets over the ranks while another thread computes the gradients: it looks at each bucket in turn
// whether it is there, and then reduces it where it is. It runs in a thread of its own (reducer-thread.ts), with an endpoint
// of its own, and is told everything by messages; memory of the other thread comes as addresses, and what ranks of a host
// share as the files that it is in.

import { setTimeout as sleep } from "node:timers/promises";
import { RingtuneError } from "../../../common/errors.ts";
import { memoryAt } from "../../collective/shared-memory/libc.ts";
import type { Collective, CollectiveEndpoint, Membership } from "../../collective/collective.ts";
import type { SharedBuffer } from "../../collective/shared-memory/shared-memory.ts";
import { plain, type PlainError } from "../../control/thread.ts";
import { now, type Span } from "../span.ts";
import { isThere } from "./readiness.ts";

/** Where float32 numbers are in this process. Whoever gives it keeps them there. */
export interface Place {
  readonly address: bigint;
  readonly length: number;
}

export interface BucketPlace extends Place {
  /** Of all gradients, the first that is in it. */
  readonly begin: number;
}

export interface ReduceOrder {
  readonly step: number;
  /** In the order in which they are reduced, on all ranks the same. */
  readonly buckets: readonly BucketPlace[];
  /** Of each bucket what tells that it is there (readiness.ts). Left out: all are. */
  readonly signals?: readonly Place[];
}

export type ToReducer =
  /** `gradients` if ranks of this host share them. */
  | { readonly kind: "form"; readonly membership: Membership; readonly gradients: SharedBuffer | undefined }
  | { readonly kind: "reduce"; readonly order: ReduceOrder }
  /** Nobody computes any more: all buckets are there. */
  | { readonly kind: "there" }
  /** Stops what is under way; the generation is over. */
  | { readonly kind: "abort" }
  /** Nothing is asked before the next generation: what was shared is let go. */
  | { readonly kind: "leave" }
  /** Nothing is asked any more. */
  | { readonly kind: "close" };

export type FromReducer =
  | { readonly kind: "opened"; readonly address: string }
  | { readonly kind: "formed" }
  /** The buckets hold the sums. */
  | {
      readonly kind: "reduced";
      readonly bytesSent: number;
      readonly bytesBetweenHosts: number;
      readonly times: readonly Span[];
    }
  | { readonly kind: "closed" }
  /** Whatever was asked for; nothing is under way any more. */
  | { readonly kind: "failed"; readonly error: PlainError };

/** Between two looks whether a bucket is there. Waking a thread costs some 10 microseconds of a core. */
const LOOK_MS = 2;

/** Takes the messages to it; answers every `form` and `reduce` once. */
export function createReducer(
  endpoint: Pick<CollectiveEndpoint, "adopt" | "form" | "close">,
  answer: (message: FromReducer) => void,
): (message: ToReducer) => void {
  let collective: Collective | undefined;
  let watch = createWatch();

  function leave(): void {
    void collective?.close();
    endpoint.adopt(undefined);
  }

  async function form({ membership, gradients }: ToReducer & { kind: "form" }): Promise<void> {
    leave();
    endpoint.adopt(gradients);
    collective = await endpoint.form(membership);
    answer({ kind: "formed" });
  }

  async function reduce({ step, buckets, signals }: ReduceOrder, { signal, untilThere }: Watch): Promise<void> {
    let [bytesSent, bytesBetweenHosts] = [0, 0];
    const times: Span[] = [];
    await collective!.topology(signal);
    const { adopted } = collective!;
    for (const [bucket, place] of buckets.entries()) {
      const own = signals?.[bucket];
      if (own !== undefined) await untilThere(own);
      const began = now();
      const { begin, length } = place;
      const numbers = adopted?.subarray(begin, begin + length) ?? floatsAt(place);
      const stats = await collective!.allReduce(numbers, { step, bucket, signal });
      bytesSent += stats.bytesSent;
      bytesBetweenHosts += stats.bytesBetweenHosts;
      times.push({ began, ended: now() });
    }
    answer({ kind: "reduced", bytesSent, bytesBetweenHosts, times });
  }

  const attempt = (work: Promise<void>): void => {
    work.catch((error: unknown) => answer({ kind: "failed", error: plain(error) }));
  };

  return (message) => {
    switch (message.kind) {
      case "form":
        return attempt(form(message));
      case "reduce":
        watch = createWatch();
        return attempt(reduce(message.order, watch));
      case "there":
        return watch.computed();
      case "abort":
        return watch.abort();
      case "leave":
        return leave();
      case "close":
        return void endpoint.close().then(() => answer({ kind: "closed" }));
    }
  };
}

interface Watch {
  /** Aborts with the step. */
  readonly signal: AbortSignal;
  /** Resolves when the gradients of a signal at this place are there, or all are. Rejects with the abort's reason. */
  readonly untilThere: (place: Place) => Promise<void>;
  computed(): void;
  abort(): void;
}

function createWatch(): Watch {
  const aborting = new AbortController();
  const { signal } = aborting;
  let isComputed = false;
  let wake = (): void => undefined;
  const woken = new Promise<void>((resolve) => (wake = resolve));
  return {
    signal,
    async untilThere(place) {
      const numbers = floatsAt(place);
      // Seen twice: by then what was written before is seen too, on processors that keep no order between writes.
      let seen = 0;
      while (!isComputed && seen < 2) {
        signal.throwIfAborted();
        seen = isThere(numbers) ? seen + 1 : 0;
        await Promise.race([woken, sleep(LOOK_MS)]);
      }
      signal.throwIfAborted();
    },
    computed() {
      isComputed = true;
      wake();
    },
    abort() {
      aborting.abort(new RingtuneError("collective_failed", "the generation is over"));
      wake();
    },
  };
}

function floatsAt({ address, length }: Place): Float32Array {
  return new Float32Array(memoryAt(address, 4 * length));
}
