// The words for what the ring is doing: what was expected, what came, what is being waited for.

import type { FrameHeader } from "../../proto/frame.ts";
import type { CollectiveWork, Progress } from "./collective-call.ts";
import type { Link, Position } from "./link.ts";
import type { Piece } from "./ring.ts";

/** "reduce-scatter step 5 bucket 0 chunk 2 segment 3 (bytes 4096 to 8191 of 65536)" */
export function describePiece(piece: Piece, work: CollectiveWork): string {
  return describe({ ...piece, step: work.step, bucket: work.bucket, total: work.bytes.byteLength });
}

/** The same words, for a frame that came. */
export function describeFrame(header: FrameHeader): string {
  return describe(header);
}

/** What keeps a call from going on. */
export function describeWait(work: CollectiveWork, progress: Progress, link: Link, position: Position): string {
  const { receives, sends } = work.schedule;
  const due = receives[progress.received];
  const done = `${progress.received} of ${receives.length} frames received, ${progress.sent} of ${sends.length} sent`;
  const successor = `rank ${position.successor} (${position.successorAddress})`;
  if (!link.joined && sends.length > 0) {
    return `waiting for ${successor} to join generation ${position.generation}; ${done}`;
  }
  if (due !== undefined) {
    return `waiting for rank ${position.predecessor} to send ${describePiece(due, work)}; ${done}`;
  }
  return `waiting for ${successor} to take ${link.unacknowledged} more frames of step ${work.step} bucket ${work.bucket}; ${done}`;
}

function describe(frame: Omit<Piece, "kind"> & { kind: string; step: number; bucket: number; total: number }): string {
  const { kind, step, bucket, chunk, segment, offset, length, total } = frame;
  const bytes = length === 0 ? "no bytes" : `bytes ${offset} to ${offset + length - 1}`;
  return `${kind} step ${step} bucket ${bucket} chunk ${chunk} segment ${segment} (${bytes} of ${total})`;
}
