// Weights and optimizer state from one worker to those that lack them, so that a newcomer needs no shared storage. The others
// take no part, and the one that gives them computes the next step meanwhile: its weights don't change before that step is
// committed, and it isn't committed before the receivers have reduced it too. Its buffers are sent as they are, without a copy.

import type { Collective } from "../collective/collective.ts";

export interface Transfer {
  /** Rank that gives. */
  readonly root: number;
  /** Ranks that lack the contents. */
  readonly receivers: readonly number[];
  readonly step: number;
  readonly signal: AbortSignal;
}

/** What is smaller arrives soon enough when the root has computed a microbatch. */
const worthWaitingBytes = 16 * 1024 * 1024;

export interface Giving {
  /** The root may compute: as much as the credit allows has left, or there is little to send. */
  readonly begun: Promise<unknown>;
  /** The receivers have everything. Until then the root must not write to its buffers. */
  readonly done: Promise<unknown>;
}

/**
 * Copies `buffers` of the root into those of the receivers, the first of them a small one; ranks that are neither have nothing
 * to do.
 */
export function transferFromPeer(
  collective: Pick<Collective, "rank" | "pass">,
  [first, ...others]: readonly [Float64Array, ...Float32Array[]],
  { root, receivers, ...call }: Transfer,
): Giving {
  const ranks = [root, ...receivers];
  if (receivers.length === 0 || !ranks.includes(collective.rank)) return given;
  const rest = others.map(bytesOf);
  const isSmall = rest.reduce((sum, { byteLength }) => sum + byteLength, 0) < worthWaitingBytes;
  const begun = isSmall ? given.begun : collective.pass([bytesOf(first)], ranks, call);
  const done = collective.pass(isSmall ? [bytesOf(first), ...rest] : rest, ranks, call);
  // What fails here fails in the next collective, too.
  for (const each of [begun, done]) each.catch(() => undefined);
  return { begun, done };
}

/** Several transfers, of which each rank receives one at most. */
export function givenTogether(transfers: readonly Giving[]): Giving {
  const [begun, done] = (["begun", "done"] as const).map((when) => Promise.all(transfers.map((each) => each[when])));
  for (const each of [begun, done]) each?.catch(() => undefined);
  return { begun: begun!, done: done! };
}

/** Nothing is being given. */
export const given: Giving = { begun: Promise.resolve(), done: Promise.resolve() };

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
