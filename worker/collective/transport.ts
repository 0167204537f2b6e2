// What the ring needs from whatever carries messages: a bound address, connections to it, whole messages in order.
// zeromq.ts implements it for processes; the tests implement it in memory with delays, reordering and faults.

export interface Transport {
  /** What other ranks connect to. */
  readonly address: string;
  /**
   * Starts delivering what arrives at the address. Messages of one connection come in order; `connection` names where to
   * reply. Called once. A delivered part may be kept; it is never written by the transport.
   */
  listen(onMessage: (connection: string, parts: readonly Uint8Array[]) => void): void;
  /** Nobody reads this delivered part any more: frees its memory at once. Without it, garbage collection does some time. */
  release(part: Uint8Array): void;
  /**
   * From now on only the processes at these addresses may send to this one, where the transport can tell: their messages
   * are those that `listen` hears. Throws `collective_failed` when one of them can't be told from a stranger.
   */
  admit(addresses: readonly string[]): void;
  /** Queues a message of one part. Never blocks; lost if the connection is gone. */
  reply(connection: string, part: Uint8Array): void;
  /** Keeps trying until somebody is there. Throws only if the address makes no sense. */
  connect(address: string, events: ConnectionEvents): Connection;
  close(): Promise<void>;
}

export interface ConnectionEvents {
  onMessage(parts: readonly Uint8Array[]): void;
  /** An established connection broke; nothing more will come of it. */
  onLost(reason: string): void;
}

export interface Connection {
  /** Queues a message. Does not copy: the parts must not change before their bytes have left. */
  send(parts: readonly Uint8Array[]): void;
  /** No event follows. What has not left is discarded, unless it `mayLinger`: then it is given a moment to leave. */
  close(mayLinger?: boolean): void;
}
