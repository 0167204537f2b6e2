// A Collective over a link to the two neighbours of a ring. Calls run one after another, in the order they were made (every
// rank must make the same calls in the same order). Once a call was cut short, by an abort or a failure, the ranks no longer
// agree on what is under way: the collective is broken for good and a new generation has to be formed.

import { assert, RingtuneError } from "../../common/errors.ts";
import { advance, type CollectiveWork, type Progress } from "./collective-call.ts";
import type { Collective, CollectiveCall, CollectiveStats } from "./collective.ts";
import { describeFrame, describePiece, describeWait } from "./describe.ts";
import { createLink, type DropReason, type Link, type Position } from "./link.ts";
import { scheduleAllReduce, scheduleBroadcast } from "./ring.ts";
import type { Transport } from "./transport.ts";

export interface RingCollective extends Collective {
  /** What the call under way waits for, as a sentence for a timeout's message; undefined when no call is under way. */
  readonly waitingFor: string | undefined;
}

export interface RingOptions {
  /** Largest payload of a frame, bytes; a multiple of 4, the same on all ranks. */
  readonly segmentBytes: number;
  /** Frames that may be on their way between two neighbours. */
  readonly windowSegments: number;
}

/** What the endpoint keeps of an open collective. */
export interface RingSession {
  readonly collective: RingCollective;
  readonly position: Position;
  /** None in a world of 1. */
  readonly link: Link | undefined;
  /** Pending and later calls reject with `collective_failed` and this sentence; the first sentence stays. */
  fail(sentence: string): void;
}

interface ActiveCall {
  readonly work: CollectiveWork;
  readonly progress: Progress;
  readonly settle: (failed?: { readonly error: unknown }) => void;
}

type Facts = Readonly<Record<string, string | number>>;

export function createRingSession(
  position: Position,
  options: RingOptions,
  transport: Transport,
  onDrop: (reason: DropReason) => void,
): RingSession {
  const { rank, worldSize, generation } = position;
  let active: ActiveCall | undefined;
  let broken: RingtuneError | undefined;
  let turn: Promise<void> = Promise.resolve();

  const waitingFor = (): string | undefined =>
    active && link && describeWait(active.work, active.progress, link, position);

  const breakOff = (sentence: string, facts: Facts = {}, abort?: { readonly error: unknown }): void => {
    if (broken !== undefined) return;
    const message = `rank ${rank} of generation ${generation}: ${sentence}`;
    const call = active && { step: active.work.step, bucket: active.work.bucket };
    broken = new RingtuneError("collective_failed", message, { details: { rank, generation, ...call, ...facts } });
    const pending = active;
    active = undefined;
    link?.close();
    pending?.settle(abort ?? { error: broken });
  };

  const interrupt = (sentence: string, abort?: { readonly error: unknown }): void => {
    const doing = waitingFor();
    breakOff(doing === undefined ? sentence : `${sentence}; it was ${doing}`, {}, abort);
  };

  const push = (): void => {
    if (active === undefined || link === undefined) return;
    const { work, progress, settle } = active;
    const outcome = advance(work, progress, link, () => onDrop("other_step"));
    if (outcome.kind === "done") {
      active = undefined;
      settle();
    } else if (outcome.kind === "unexpected") {
      const expected = describePiece(outcome.expected, work);
      const came = describeFrame(outcome.came);
      const neighbour = position.predecessor;
      const { chunk, segment } = outcome.expected;
      breakOff(`expected ${expected} from rank ${neighbour}, but ${came} came`, {
        ...{ neighbour, chunk, segment, expected, came },
      });
    }
  };

  const link: Link | undefined =
    worldSize === 1
      ? undefined
      : createLink(position, options.windowSegments, transport, {
          onFrame: push,
          onCredit: push,
          onFailure: interrupt,
          onDrop,
        });

  const run = async (call: CollectiveCall, work: CollectiveWork): Promise<CollectiveStats> => {
    const startedAt = performance.now();
    const progress: Progress = { sent: 0, received: 0, bytesSent: 0 };
    call.signal.throwIfAborted();
    const before = turn;
    let passOn = (): void => undefined;
    turn = new Promise((resolve) => (passOn = resolve));
    try {
      await beforeAbort(before, call.signal);
      call.signal.throwIfAborted();
      if (broken !== undefined) throw broken;
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void =>
          interrupt("a call was aborted, so the ranks no longer agree; form a new generation", {
            error: call.signal.reason,
          });
        call.signal.addEventListener("abort", onAbort, { once: true });
        active = {
          work,
          progress,
          settle: (failed) => {
            call.signal.removeEventListener("abort", onAbort);
            // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of an abort is the caller's
            if (failed !== undefined) reject(failed.error);
            else resolve();
          },
        };
        if (link === undefined) active.settle();
        else push();
      });
    } finally {
      void before.then(passOn);
    }
    return { bytesSent: progress.bytesSent, seconds: (performance.now() - startedAt) / 1000 };
  };

  const collective: RingCollective = {
    rank,
    worldSize,
    generation,
    get waitingFor() {
      return waitingFor();
    },
    async allReduce(buffer, call) {
      const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
      const schedule = scheduleAllReduce(position, buffer.length, buffer.BYTES_PER_ELEMENT, options.segmentBytes);
      return run(call, { schedule, bytes, step: call.step, bucket: call.bucket });
    },
    async broadcast(buffer, root, call) {
      assert(Number.isInteger(root) && root >= 0 && root < worldSize, `root ${root} is a rank below ${worldSize}`);
      const schedule = scheduleBroadcast(position, root, buffer.byteLength, options.segmentBytes);
      return run(call, { schedule, bytes: buffer, step: call.step, bucket: call.bucket });
    },
    async close() {
      interrupt("the collective was closed");
    },
  };
  return { collective, position, link, fail: interrupt };
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
