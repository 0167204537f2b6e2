// What a worker needs from the data plane. One Collective lives for one generation of one job's membership;
// when membership changes it is closed and another is formed on the same endpoint.

export interface CollectiveStats {
  /** Payload bytes this rank sent. */
  readonly bytesSent: number;
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

export interface Collective {
  readonly rank: number;
  readonly worldSize: number;
  readonly generation: number;
  /** Sums `buffer` over all ranks in place; every rank ends with bit-identical contents. */
  allReduce(buffer: Float32Array, call: CollectiveCall): Promise<CollectiveStats>;
  /** Copies `buffer` of rank `root` into `buffer` of all others. */
  broadcast(buffer: Uint8Array, root: number, call: CollectiveCall): Promise<CollectiveStats>;
  /** Pending calls reject with `collective_failed`. The endpoint stays open for the next generation. */
  close(): Promise<void>;
}

export interface Membership {
  readonly jobId: string;
  readonly generation: number;
  readonly rank: number;
  /** ZeroMQ endpoint of every rank, in rank order; its length is the world size. */
  readonly endpoints: readonly string[];
}

/** The socket that other ranks connect to: bound once per worker, before its rank is known. */
export interface CollectiveEndpoint {
  /** "tcp://127.0.0.1:41234" */
  readonly address: string;
  form(membership: Membership): Promise<Collective>;
  close(): Promise<void>;
}
