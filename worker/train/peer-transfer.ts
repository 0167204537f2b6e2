// Weights and optimizer state from one worker to others over the ring, so that a newcomer needs no shared storage and the
// others are not disturbed for longer than the bytes take. Whoever holds them already only passes them on: its own buffers
// are never written.

import type { Collective } from "../collective/collective.ts";

/** What a worker that passes on needs room for. */
const BLOCK_BYTES = 16 * 1024 * 1024;

export interface Transfer {
  /** Rank that sends. */
  readonly root: number;
  /** This worker holds the contents already. */
  readonly keeps: boolean;
  readonly step: number;
  readonly signal: AbortSignal;
}

/** Copies `buffers` of the root into those of every worker that does not keep its own. All ranks call it alike. */
export async function transferFromPeer(
  collective: Collective,
  buffers: readonly (Float32Array | Float64Array)[],
  { root, keeps, step, signal }: Transfer,
): Promise<void> {
  const passesOn = keeps && collective.rank !== root;
  const largest = Math.max(0, ...buffers.map(({ byteLength }) => byteLength));
  const scratch = new Uint8Array(passesOn ? Math.min(BLOCK_BYTES, largest) : 0);
  let bucket = 0;
  for (const buffer of buffers) {
    for (let begin = 0; begin < buffer.byteLength; begin += BLOCK_BYTES) {
      const length = Math.min(BLOCK_BYTES, buffer.byteLength - begin);
      const block = passesOn
        ? scratch.subarray(0, length)
        : new Uint8Array(buffer.buffer, buffer.byteOffset + begin, length);
      await collective.broadcast(block, root, { step, bucket: bucket++, signal });
    }
  }
}
