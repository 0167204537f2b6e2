// What a worker needs from the data plane. One Collective lives for one generation of one job's membership;
// when membership changes it is closed and another is formed on the same endpoint.

import type { HalfFormat } from "../simd/half.ts";
import type { SharedBuffer } from "./shared-memory/shared-memory.ts";
import type { Topology } from "./topology.ts";

export interface CollectiveStats {
  /** Payload bytes that this rank moved to other ranks. */
  readonly bytesSent: number;
  /** Those of them that left the host. */
  readonly bytesBetweenHosts: number;
  /** Wall-clock seconds inside the call. */
  readonly seconds: number;
}

export interface CollectiveCall {
  readonly step: number;
  /** Number of the gradient bucket within the step. */
  readonly bucket: number;
  /** Aborting rejects the call at once with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Numbers of 16 bits, a multiple of 32 of them. */
export interface Halves {
  readonly format: HalfFormat;
  readonly values: Uint16Array;
}

/**
 * What is summed. Sums of floats depend on the order of the additions, which the path and the number of ranks decide; int64 sums
 * don't. An integer that overflows wraps around: whoever fills the buffer leaves room. Sums of halves are added as float32 and
 * rounded, as often as the path has it.
 */
export type Summable = Float32Array | BigInt64Array | Halves;

/**
 * Every rank makes the same calls in the same order, with buffers of equal length and kind, but for `pass`. What a buffer holds after a call that
 * rejects is not defined.
 */
export interface Collective {
  readonly rank: number;
  readonly worldSize: number;
  readonly generation: number;
  /** How the bytes travel, and why not by shared memory if that was tried: known when the first call is done. */
  readonly path: string;
  /** The groups of ranks that share memory, the same on all ranks; resolves when they have agreed. See topology.ts. */
  topology(signal: AbortSignal): Promise<Topology>;
  /** What the endpoint of another thread needs to `adopt` memory of `allocate`, if ranks share it: known with the topology. */
  lend(buffer: Float32Array): SharedBuffer | undefined;
  /** This rank's numbers of what the endpoint has adopted, if ranks share it: known with the topology. */
  readonly adopted: Float32Array | undefined;
  /** Sums `buffer` over all ranks in place; every rank ends with bit-identical contents. */
  allReduce(buffer: Summable, call: CollectiveCall): Promise<CollectiveStats>;
  /** Sums over all ranks; rank r holds the sum of chunk r (see chunks.ts), the rest of its buffer is not defined. */
  reduceScatter(buffer: Summable, call: CollectiveCall): Promise<CollectiveStats>;
  /** Copies chunk r of rank r (see chunks.ts) to all other ranks. */
  allGather(buffer: Summable, call: CollectiveCall): Promise<CollectiveStats>;
  /** Copies `buffer` of rank `root` into `buffer` of all others. */
  broadcast(buffer: Uint8Array, root: number, call: CollectiveCall): Promise<CollectiveStats>;
  /** Copies `buffer` of rank `from` to rank `to`, over their link; other ranks need not call. Resolves when it has arrived. */
  transfer(
    buffer: Uint8Array,
    between: { readonly from: number; readonly to: number },
    call: CollectiveCall,
  ): Promise<CollectiveStats>;
  /**
   * Copies the buffers of the first of `ranks` into those of the others, one after another; only these ranks call it. Up to
   * 64 MB leave without this thread, so the first may compute meanwhile; its buffers must not change before this resolves.
   */
  pass(
    buffers: readonly Uint8Array[],
    ranks: readonly number[],
    call: Pick<CollectiveCall, "step" | "signal">,
  ): Promise<CollectiveStats>;
  /** Resolves when every rank has called it. */
  barrier(call: CollectiveCall): Promise<void>;
  /** Pending calls reject with `collective_failed`. The endpoint stays open for the next generation. */
  close(): Promise<void>;
}

export interface Membership {
  readonly jobId: string;
  readonly generation: number;
  readonly rank: number;
  /** Address of every rank's endpoint, in rank order; its length is the world size. */
  readonly endpoints: readonly string[];
}

/** The socket that other ranks connect to: bound once per worker, before its rank is known. */
export interface CollectiveEndpoint {
  /** "tcp://127.0.0.1:41234", and how ranks on the same host reach it faster; see address.ts. */
  readonly address: string;
  /**
   * Zeros in memory that ranks of the same host sum in place, without a copy: for buffers that are reduced at every step.
   * They begin at a multiple of 64 bytes of their memory, so that it can be looked at as int64 too.
   * Every rank allocates the same lengths in the same order, before it forms a generation.
   */
  allocate(length: number): Float32Array;
  /**
   * Memory that another thread's collective of the same ranks lends: the next generation sums in it in place, too. What was adopted
   * before is let go, and nothing may be under way in it; undefined for none.
   */
  adopt(buffer: SharedBuffer | undefined): void;
  form(membership: Membership): Promise<Collective>;
  close(): Promise<void>;
}
