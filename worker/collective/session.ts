// A Collective of one generation: calls run one after another, in the order they were made (every rank must make the same
// calls in the same order), in the phases that route.ts finds for the topology that the ranks agreed on. Once a call was cut
// short, by an abort or a failure, the ranks no longer agree on what is under way: the collective is broken for good and a
// new generation has to be formed.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { Dtype } from "../../proto/frame.ts";
import { inSequence, type Call } from "./call.ts";
import type { Collective, CollectiveCall, CollectiveStats, Summable } from "./collective.ts";
import { createDirectCall } from "./direct-call.ts";
import { createLinks, type DropReason, type Links, type Position } from "./links.ts";
import { orderByBandwidth, type Bandwidths } from "./measure-hosts.ts";
import { createPassCall } from "./pass-call.ts";
import { cutInto } from "./pieces.ts";
import { createRingCall } from "./ring-call.ts";
import { scheduleBroadcast, scheduleRing } from "./ring.ts";
import { neighboursOf, routeOf, type Kind, type Phase, type RouteOptions } from "./route.ts";
import { agreeOnMemory } from "./shared-memory/agree.ts";
import { strideBytes } from "../simd/sum.ts";
import { createLaneMemory } from "./shared-memory/lane-memory.ts";
import { createMemoryCall } from "./shared-memory/memory-call.ts";
import type { SharedMemory, SharedWorld } from "./shared-memory/shared-memory.ts";
import { describeTopology, findRank, topologyOf, type Topology } from "./topology.ts";
import type { Transport } from "./transport.ts";

export interface SessionCollective extends Collective {
  /** What the call under way waits for, as a sentence for a timeout's message; undefined when no call is under way. */
  readonly waitingFor: string | undefined;
}

export interface RingOptions extends RouteOptions {
  /** Frames that may be on their way between two ranks. */
  readonly windowSegments: number;
  /** Milliseconds: how fast the connections between hosts are is measured with it. */
  readonly now: () => number;
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
interface Work {
  readonly kind: Kind;
  readonly bytes: Uint8Array;
  readonly dtype: Dtype;
  /** Of a broadcast. */
  readonly root?: number;
}

interface ActiveCall {
  readonly call: Call;
  readonly settle: (failed?: { readonly error: unknown }) => void;
}

type Facts = Readonly<Record<string, string | number>>;

/** `memory` is this rank's, if its address says that it can be shared; `bandwidths` are kept from one session to the next. */
export function createSession(
  position: Position,
  options: RingOptions,
  transport: Transport,
  memory: SharedMemory | undefined,
  bandwidths: Bandwidths,
  onDrop: (reason: DropReason) => void,
): Session {
  const { rank, worldSize, generation } = position;
  let active: ActiveCall | undefined;
  let broken: RingtuneError | undefined;
  let shared: SharedWorld | undefined;
  const addressed = topologyOf(position.addresses);
  /** Until all have agreed, no memory is shared. */
  let topology: Topology = addressed.flat().map((each) => [each]);
  let path = describeTopology(topology);

  const waitingFor = (): string | undefined => active?.call.describe();

  const breakOff = (sentence: string, facts: Facts = {}, abort?: { readonly error: unknown }): void => {
    if (broken !== undefined) return;
    const message = `rank ${rank} of generation ${generation}: ${sentence}`;
    const call = active && { step: active.call.step, bucket: active.call.bucket };
    broken = new RingtuneError("collective_failed", message, { details: { rank, generation, ...call, ...facts } });
    const pending = active;
    active = undefined;
    links.close(pending === undefined); // then what has not left are copies, and others may wait for them
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

  const begin = (phase: Phase, work: Work, { step, bucket }: Pick<CollectiveCall, "step" | "bucket">): Call => {
    const { bytes, dtype, kind, root } = work;
    const onWire = { step, bucket, bytes, dtype };
    const onOlder = (): void => onDrop("other_step");
    switch (phase.kind) {
      case "memory": {
        const group = topology[findRank(topology, rank).group]!;
        const asked = { ...onWire, kind, moves: phase.moves, ...(root === undefined ? {} : { root }) };
        return createMemoryCall(asked, shared!, (place) => links.to(group[place]!));
      }
      case "ring": {
        const { successor, predecessor, moves } = phase;
        const neighbours = { successor: links.to(successor), predecessor: links.from(predecessor), onOlder };
        const laneMemory = moves && createLaneMemory(moves, shared!, onWire);
        return createRingCall(onWire, phase.schedule, neighbours, laneMemory);
      }
      case "direct": {
        const { ranks } = phase;
        const to = (place: number) => links.to(ranks[place]!);
        const from = (place: number) => links.from(ranks[place]!);
        return createDirectCall(onWire, phase.schedule, phase.position, { to, from, onOlder });
      }
    }
  };

  const route = (work: Work): Phase[] =>
    routeOf(
      { ...work, byteLength: work.bytes.byteLength, inPlace: shared?.find(work.bytes) !== undefined },
      ...([topology, rank, options] as const),
    );

  const createCall = (
    work: Work,
    call: Pick<CollectiveCall, "step" | "bucket">,
    phases: readonly Phase[] = route(work),
  ): Call => {
    return inSequence(phases.map((phase) => () => begin(phase, work, call)), call); // prettier-ignore
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

  /** Opens the ways to all whom this rank may send to, and to all of its group: whoever dies is missed by all of them. */
  const connect = (): void => {
    const group = topology[findRank(topology, rank).group]!;
    for (const other of [...neighboursOf(topology, rank), ...group]) if (other !== rank) links.to(other);
  };

  /** All-gather of the forming, over all ranks. */
  const gather = (bytes: Uint8Array): Promise<void> =>
    perform(createCall({ kind: "all-gather", bytes, dtype: "bytes" }, { step: 0, bucket: 0 }));

  /** Sends so many bytes to another rank, which sends as many. */
  const exchange = (other: number, bytes: number): Promise<void> => {
    const place = { position: rank < other ? 0 : 1, chunks: [[0], [1]] };
    const schedule = scheduleRing(place, ["all-gather"], cutInto(2, 2 * bytes, options.segmentBytes));
    const work: Work = { kind: "all-gather", bytes: new Uint8Array(2 * bytes), dtype: "bytes" };
    return perform(
      begin({ kind: "ring", schedule, successor: other, predecessor: other }, work, { step: 0, bucket: 0 }),
    );
  };

  /** Says with all ranks whose memory is shared and in which order hosts follow; what fails breaks the collective, and calls tell. */
  const agree = async (): Promise<void> => {
    const isShared = addressed.some(({ length }) => length > 1);
    try {
      const agreed = isShared ? await agreeOnMemory(memory, addressed, rank, gather) : { topology };
      const { addresses } = position;
      const measuring = { ...options, rank, addresses, known: bandwidths, gather, exchange };
      const ordered = await orderByBandwidth(agreed.topology, measuring);
      topology = ordered;
      shared = agreed.world;
      path = describeTopology(topology);
      if (agreed.problem !== undefined) path += `, without shared memory: ${agreed.problem}`;
      if (ordered.some((group, place) => group !== agreed.topology[place]))
        path += `, in the measured order of the hosts`;
      connect();
    } catch (error) {
      if (!(error instanceof RingtuneError)) throw error;
    }
  };

  connect(); // who can't be called is known at once, not at the first call
  const agreed: Promise<void> = worldSize > 1 ? agree() : Promise.resolve();
  let turn = agreed;

  /** Makes the call when those before it are done. */
  const inTurn = async (create: () => Call, signal: AbortSignal): Promise<CollectiveStats> => {
    const startedAt = performance.now();
    signal.throwIfAborted();
    const before = turn;
    let passOn = (): void => undefined;
    turn = new Promise((resolve) => (passOn = resolve));
    let bytes = { bytesSent: 0, bytesBetweenHosts: 0 };
    try {
      await beforeAbort(before, signal);
      signal.throwIfAborted();
      if (broken !== undefined) throw broken;
      if (worldSize > 1) {
        const call = create();
        await perform(call, signal);
        bytes = { bytesSent: call.bytesSent, bytesBetweenHosts: call.bytesBetweenHosts };
      }
    } finally {
      void before.then(passOn);
    }
    return { ...bytes, seconds: (performance.now() - startedAt) / 1000 };
  };

  /** By way of `phases`, or as the topology has it, which is known when its turn has come. */
  const run = (work: Work, { signal, ...call }: CollectiveCall, phases?: readonly Phase[]): Promise<CollectiveStats> =>
    inTurn(() => createCall(work, call, phases), signal);

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
    async topology(signal) {
      await beforeAbort(agreed, signal);
      if (broken !== undefined) throw broken;
      return topology;
    },
    lend: (buffer) => shared?.lend(buffer),
    get adopted() {
      return shared?.adopted;
    },
    allReduce: (buffer, call) => run({ kind: "all-reduce", ...numbersIn(buffer) }, call),
    reduceScatter: (buffer, call) => run({ kind: "reduce-scatter", ...numbersIn(buffer) }, call),
    allGather: (buffer, call) => run({ kind: "all-gather", ...numbersIn(buffer) }, call),
    async broadcast(buffer, root, call) {
      assert(Number.isInteger(root) && root >= 0 && root < worldSize, `root ${root} is a rank below ${worldSize}`);
      return run({ kind: "broadcast", bytes: buffer, dtype: "bytes", root }, call);
    },
    async transfer(buffer, { from, to }, call) {
      assert(from !== to && Math.max(from, to) < worldSize, `ranks ${from} and ${to} of ${worldSize}`);
      if (rank !== from && rank !== to) return { bytesSent: 0, bytesBetweenHosts: 0, seconds: 0 };
      // A broadcast in a ring of the two.
      const [position, other] = rank === from ? [0, to] : [1, from];
      const cut = cutInto(2, buffer.byteLength, options.segmentBytes);
      const schedule = scheduleBroadcast({ position, chunks: [[0], [1]] }, 0, cut);
      const phase: Phase = { kind: "ring", schedule, successor: other, predecessor: other };
      return run({ kind: "broadcast", bytes: buffer, dtype: "bytes" }, call, [phase]);
    },
    async pass(buffers, ranks, { step, signal }) {
      const place = ranks.indexOf(rank);
      assert(place >= 0 && new Set(ranks).size === ranks.length, `rank ${rank} is one of the ranks ${ranks.join()}`);
      const [before, after] = [ranks[place - 1], ranks[place + 1]];
      const neighbours = {
        before: before === undefined ? undefined : links.from(before),
        after: after === undefined ? undefined : links.to(after),
        onOlder: () => onDrop("other_step"),
      };
      return inTurn(() => createPassCall(buffers, step, neighbours), signal);
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
  if ("format" in buffer) {
    const { format, values } = buffer;
    assert(values.byteLength % strideBytes === 0, `${values.length} halves are a multiple of ${strideBytes / 2}`);
    return { bytes: bytesOf(values), dtype: format };
  }
  return { bytes: bytesOf(buffer), dtype: buffer instanceof Float32Array ? "float32" : "int64" };
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
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
