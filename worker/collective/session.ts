// A Collective of one generation: calls run one after another, in the order they were made (every rank must make the same
// calls in the same order), over shared memory where all ranks agreed on it and over the ring otherwise. Once a call was cut
// short, by an abort or a failure, the ranks no longer agree on what is under way: the collective is broken for good and a
// new generation has to be formed.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { Dtype } from "../../proto/frame.ts";
import type { Call } from "./call.ts";
import type { Collective, CollectiveCall, CollectiveStats, Summable } from "./collective.ts";
import { createLinks, type DropReason, type Links, type Position } from "./links.ts";
import { createRingCall } from "./ring-call.ts";
import { modulo, scheduleBroadcast, scheduleRing, type RingHalves } from "./ring.ts";
import { agreeOnMemory } from "./shared-memory/agree.ts";
import { createMemoryCall } from "./shared-memory/memory-call.ts";
import type { SharedMemory, SharedWorld } from "./shared-memory/shared-memory.ts";
import type { Transport } from "./transport.ts";

export interface SessionCollective extends Collective {
  /** What the call under way waits for, as a sentence for a timeout's message; undefined when no call is under way. */
  readonly waitingFor: string | undefined;
}

export interface RingOptions {
  /** Largest payload of a frame, bytes; a multiple of 8, the same on all ranks. */
  readonly segmentBytes: number;
  /** Frames that may be on their way between two ranks. */
  readonly windowSegments: number;
}

/** What the endpoint keeps of an open collective. */
export interface Session {
  readonly collective: SessionCollective;
  readonly position: Position;
  readonly links: Links;
  /** Another rank says that what is waited for has come. */
  wake(): void;
  /** Pending and later calls reject with `collective_failed` and this sentence; the first sentence stays. */
  fail(sentence: string): void;
}

/** What is asked of all ranks. `bytes` is the caller's buffer. */
export type Work = { readonly bytes: Uint8Array; readonly dtype: Dtype } & (
  | { readonly kind: "all-reduce" | "reduce-scatter" | "all-gather" | "barrier" }
  | { readonly kind: "broadcast"; readonly root: number }
);

interface ActiveCall {
  readonly call: Call;
  readonly settle: (failed?: { readonly error: unknown }) => void;
}

type Facts = Readonly<Record<string, string | number>>;

const halvesOf: Readonly<Record<Exclude<Work["kind"], "broadcast">, RingHalves>> = {
  "all-reduce": ["reduce-scatter", "all-gather"],
  "reduce-scatter": ["reduce-scatter"],
  "all-gather": ["all-gather"],
  barrier: ["reduce-scatter", "all-gather"],
};

/** `memory` is given if every rank's address says that it can share memory with this one. */
export function createSession(
  position: Position,
  options: RingOptions,
  transport: Transport,
  memory: SharedMemory | undefined,
  onDrop: (reason: DropReason) => void,
): Session {
  const { rank, worldSize, generation } = position;
  const neighbours = { successor: modulo(rank + 1, worldSize), predecessor: modulo(rank - 1, worldSize) };
  let active: ActiveCall | undefined;
  let broken: RingtuneError | undefined;
  let shared: SharedWorld | undefined;
  let path = `ring of ${worldSize} ranks`;

  const waitingFor = (): string | undefined => active?.call.describe();

  const breakOff = (sentence: string, facts: Facts = {}, abort?: { readonly error: unknown }): void => {
    if (broken !== undefined) return;
    const message = `rank ${rank} of generation ${generation}: ${sentence}`;
    const call = active && { step: active.call.step, bucket: active.call.bucket };
    broken = new RingtuneError("collective_failed", message, { details: { rank, generation, ...call, ...facts } });
    const pending = active;
    active = undefined;
    links.close();
    pending?.settle(abort ?? { error: broken });
  };

  const interrupt = (sentence: string, abort?: { readonly error: unknown }): void => {
    const doing = waitingFor();
    breakOff(doing === undefined ? sentence : `${sentence}; it was ${doing}`, {}, abort);
  };

  const push = (): void => {
    if (active === undefined) return;
    const { call, settle } = active;
    const outcome = call.advance();
    if (outcome.kind === "done") {
      active = undefined;
      settle();
    } else if (outcome.kind === "broken") {
      breakOff(outcome.sentence, outcome.facts);
    }
  };

  const links = createLinks(position, options.windowSegments, transport, {
    onProgress: push,
    onFailure: interrupt,
    onDrop,
  });
  // A successor that can't be called is known at once, not at the first call.
  const ring =
    worldSize === 1
      ? undefined
      : {
          successor: links.to(neighbours.successor),
          predecessor: links.from(neighbours.predecessor),
          onOlder: () => onDrop("other_step"),
        };

  const createRing = (work: Work, { step, bucket }: Pick<CollectiveCall, "step" | "bucket">): Call => {
    const { segmentBytes } = options;
    const { bytes, dtype } = work;
    const schedule =
      work.kind === "broadcast"
        ? scheduleBroadcast(position, work.root, bytes.byteLength, segmentBytes)
        : scheduleRing(position, halvesOf[work.kind], bytes.byteLength / 4, segmentBytes);
    return createRingCall({ schedule, bytes, dtype, step, bucket }, ring!);
  };

  /** Resolves when the call is done. */
  const perform = (call: Call, signal?: AbortSignal): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      if (broken !== undefined) throw broken;
      const onAbort = (): void =>
        interrupt("a call was aborted, so the ranks no longer agree; form a new generation", { error: signal?.reason });
      signal?.addEventListener("abort", onAbort, { once: true });
      active = {
        call,
        settle: (failed) => {
          signal?.removeEventListener("abort", onAbort);
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort is the caller's
          if (failed !== undefined) reject(failed.error);
          else resolve();
        },
      };
      push();
    });

  /** Says with the ranks of this host whose memory is where; what fails breaks the collective, and calls tell. */
  const agree = async (memory: SharedMemory): Promise<void> => {
    const gather = (bytes: Uint8Array): Promise<void> =>
      perform(createRing({ kind: "all-gather", bytes, dtype: "bytes" }, { step: 0, bucket: 0 }));
    try {
      const agreed = await agreeOnMemory(memory, position, gather);
      if ("problem" in agreed) {
        path += `, without shared memory: ${agreed.problem}`;
      } else {
        shared = agreed.world;
        // A way to everybody: whoever dies is missed by all, not by its predecessor alone.
        for (let other = 0; other < worldSize; other++) if (other !== rank) links.to(other);
        path = `shared memory of ${worldSize} ranks`;
      }
    } catch (error) {
      if (!(error instanceof RingtuneError)) throw error;
    }
  };

  let turn: Promise<void> = ring === undefined || memory === undefined ? Promise.resolve() : agree(memory);

  const run = async (work: Work, options: CollectiveCall): Promise<CollectiveStats> => {
    const startedAt = performance.now();
    const { signal, step, bucket } = options;
    signal.throwIfAborted();
    const before = turn;
    let passOn = (): void => undefined;
    turn = new Promise((resolve) => (passOn = resolve));
    let bytesSent = 0;
    try {
      await beforeAbort(before, signal);
      signal.throwIfAborted();
      if (broken !== undefined) throw broken;
      if (ring !== undefined) {
        const call =
          shared === undefined
            ? createRing(work, options)
            : createMemoryCall({ ...work, step, bucket }, shared, (peer) => links.to(peer));
        await perform(call, signal);
        ({ bytesSent } = call);
      }
    } finally {
      void before.then(passOn);
    }
    return { bytesSent, seconds: (performance.now() - startedAt) / 1000 };
  };

  const collective: SessionCollective = {
    rank,
    worldSize,
    generation,
    get path() {
      return path;
    },
    get waitingFor() {
      return waitingFor();
    },
    allReduce: (buffer, call) => run({ kind: "all-reduce", ...numbersIn(buffer) }, call),
    reduceScatter: (buffer, call) => run({ kind: "reduce-scatter", ...numbersIn(buffer) }, call),
    allGather: (buffer, call) => run({ kind: "all-gather", ...numbersIn(buffer) }, call),
    async broadcast(buffer, root, call) {
      assert(Number.isInteger(root) && root >= 0 && root < worldSize, `root ${root} is a rank below ${worldSize}`);
      return run({ kind: "broadcast", bytes: buffer, dtype: "bytes", root }, call);
    },
    async barrier(call) {
      // An element for each rank to be in charge of: nobody has them all before everybody gave one.
      await run({ kind: "barrier", ...numbersIn(new Float32Array(16 * worldSize)) }, call);
    },
    async close() {
      interrupt("the collective was closed");
    },
  };
  return { collective, position, links, wake: push, fail: interrupt };
}

function numbersIn(buffer: Summable): Pick<Work, "bytes" | "dtype"> {
  const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  return { bytes, dtype: buffer instanceof Float32Array ? "float32" : "int64" };
}

/** Waits for `promise`, which never rejects, unless the signal aborts first. */
async function beforeAbort(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort is the caller's
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
