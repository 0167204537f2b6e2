// An exchange whose sums begin before the gradients of the last microbatch are all there. While ONNX Runtime keeps this thread,
// another one (reducer.ts) reduces bucket after bucket, over a ring of its own:
//
//     this thread    | forward | backward: head, block n-1 ... block 0, embedding | waits |
//     the other                          | bucket 0 | bucket 1 | bucket 2 | bucket 3      |
//
// Which generations do so, all ranks decide alike (`form`); in others it is the plain exchange.

import { addressOf } from "../../collective/shared-memory/libc.ts";
import { areOnOneHost } from "../../collective/address.ts";
import { exchangeRecords } from "../../collective/records.ts";
import { describeError } from "../../../common/errors.ts";
import type { CollectiveCall } from "../../collective/collective.ts";
import { createPlainExchange, type Formed, type GradientExchange } from "../gradient-exchange.ts";
import { aborted } from "../task-queue.ts";
import type { Bucket } from "./buckets.ts";
import { clear } from "./readiness.ts";
import type { ReducerClient, Reduced } from "./reducer-client.ts";
import type { Place } from "./reducer.ts";

export interface OverlapOptions {
  readonly gradients: Float32Array;
  /** More than one, in the order in which they are reduced. */
  readonly buckets: readonly Bucket[];
  /** "auto" leaves generations within one host alone: there the sums need the processor, and are faster in one piece. */
  readonly when: "auto" | "on";
  /** Called when it is first needed. */
  readonly startReducer: () => ReducerClient;
}

/** What a rank tells the others. */
type Told = { readonly address: string } | { readonly problem: string };

export function createOverlappingExchange(options: OverlapOptions): GradientExchange {
  const { gradients, buckets, when } = options;
  const whole = createPlainExchange(gradients);
  const places = buckets.map(({ begin, end }) => ({ begin, ...placeOf(gradients.subarray(begin, end)) }));
  let reducer: ReducerClient | undefined;
  /** In this generation: what the engine says of each bucket. */
  let signals: readonly Float32Array[] | undefined;
  let underWay: Promise<Reduced> | undefined;
  let step = 0;
  let generation = 0;
  let how = "";
  /** Whether the ranks of this generation do so; left out where they need not agree. */
  let agreeing: Promise<boolean> | undefined;
  /** The last time that they had to. */
  let before: Promise<unknown> = Promise.resolve();

  /** The same answer on all ranks. They need not wait for it before they compute: until it is there nothing begins early. */
  async function agree({ collective, membership, ready }: Formed, call: CollectiveCall): Promise<boolean> {
    const told = await exchangeRecords(collective, await tell(ready), (records) =>
      collective.allGather(new Float32Array(records.buffer), call),
    );
    const addresses: string[] = [];
    for (const [rank, each = { problem: "what it told is not readable" }] of told.entries()) {
      if ("problem" in each) {
        how = `, when the backward pass is over: rank ${rank}: ${each.problem}`;
        return false;
      }
      addresses.push(each.address);
    }
    await reducer!.form({ ...membership, endpoints: addresses }, collective.lend(gradients));
    if (membership.generation !== generation) return false;
    signals = ready;
    how = `, in ${buckets.length} buckets while the backward pass goes on`;
    return true;
  }

  async function tell(ready: Formed["ready"]): Promise<Told> {
    if (ready === undefined) return { problem: "what computes there gives no gradient before" };
    try {
      return { address: await (reducer ??= options.startReducer()).address };
    } catch (error) {
      return { problem: describeError(error).slice(0, 200) };
    }
  }

  async function stop(): Promise<void> {
    if (underWay === undefined) return;
    reducer?.tell("abort");
    await underWay.catch(() => undefined);
    underWay = undefined;
  }

  function start(watched?: readonly Place[]): void {
    underWay = reducer!.reduce({ step, buckets: places, ...(watched === undefined ? {} : { signals: watched }) });
    underWay.catch(() => undefined); // `reduce` is told.
  }

  return {
    ...whole,
    buckets,
    stop,

    async leave() {
      await stop();
      reducer?.tell("leave");
    },

    get how() {
      return how;
    },

    async form(formed, call) {
      const { collective, membership } = formed;
      signals = undefined;
      how = "";
      ({ generation } = membership);
      agreeing =
        collective.worldSize === 1 || (when === "auto" && areOnOneHost(membership.endpoints))
          ? undefined
          : before.then(async () => agree(formed, call));
      // Of a collective that is closed by then; `reduce` is told.
      before = Promise.resolve(agreeing).catch(() => undefined);
      return agreeing;
    },

    begin(exchanged) {
      ({ step } = exchanged);
      whole.begin(exchanged);
    },

    startEarly() {
      if (signals === undefined) return;
      for (const signal of signals) clear(signal);
      start(signals.map(placeOf));
    },

    async reduce(collective, call) {
      const { signal } = call;
      const began = performance.now();
      signal.throwIfAborted();
      if (signals === undefined) {
        const agreed = agreeing !== undefined && (await Promise.race([agreeing, aborted(signal)]));
        if (agreed === false) agreeing = undefined;
        if (!agreed) return whole.reduce(collective, call);
      }
      if (underWay === undefined) {
        whole.settle();
        start();
      } else reducer!.tell("there");
      const onAbort = (): void => reducer!.tell("abort");
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        const { bytesSent, bytesBetweenHosts, times } = await underWay!;
        signal.throwIfAborted(); // It may have been over when it was told.
        const collectiveSeconds = times.reduce((sum, { began, ended }) => sum + (ended - began) / 1000, 0);
        const seconds = (performance.now() - began) / 1000;
        return { bytesSent, bytesBetweenHosts, seconds, collectiveSeconds, buckets: times };
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      } finally {
        signal.removeEventListener("abort", onAbort);
        underWay = undefined;
      }
    },

    async close() {
      await stop();
      await reducer?.close();
    },
  };
}

function placeOf(numbers: Float32Array): Place {
  return { address: addressOf(numbers), length: numbers.length };
}
