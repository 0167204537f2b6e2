// One call (an all-reduce or a broadcast) in progress: executes a schedule over a link, frame by frame, as frames and credit
// arrive. A state machine that is pushed, not a loop that waits: leaving it behind leaves nothing running.

import type { FrameHeader } from "../../proto/frame.ts";
import type { Frame, Link } from "./link.ts";
import type { Piece, Schedule } from "./ring.ts";
import { addFloats } from "./sum.ts";

export interface CollectiveWork {
  readonly schedule: Schedule;
  readonly step: number;
  readonly bucket: number;
  /** The caller's buffer: float32 values in an all-reduce. */
  readonly bytes: Uint8Array;
}

export interface Progress {
  /** Pieces sent and received so far. */
  sent: number;
  received: number;
  bytesSent: number;
}

export type Outcome =
  | { readonly kind: "pending" }
  | { readonly kind: "done" }
  /** A frame that is not the one due. */
  | { readonly kind: "unexpected"; readonly expected: Piece; readonly came: FrameHeader };

/** Does everything that can be done now. `onOlder` hears of each frame of an earlier call, which is dropped. */
export function advance(work: CollectiveWork, progress: Progress, link: Link, onOlder: () => void): Outcome {
  const { sends, receives } = work.schedule;
  sendReady(work, progress, link);
  while (progress.received < receives.length) {
    const frame = link.take();
    if (frame === undefined) return { kind: "pending" };
    if (isOlder(frame.header, work)) {
      onOlder();
      continue;
    }
    const expected = receives[progress.received]!;
    if (!isDue(frame.header, expected, work)) return { kind: "unexpected", expected, came: frame.header };
    absorb(frame, expected, work);
    progress.received++;
    sendReady(work, progress, link);
  }
  link.acknowledge();
  return progress.sent === sends.length && link.unacknowledged === 0 ? { kind: "done" } : { kind: "pending" };
}

function sendReady(work: CollectiveWork, progress: Progress, link: Link): void {
  const { sends, lead } = work.schedule;
  const ready = Math.min(sends.length, lead + progress.received);
  while (progress.sent < ready && link.room > 0) {
    const piece = sends[progress.sent++]!;
    progress.bytesSent += piece.length;
    const payload = work.bytes.subarray(piece.offset, piece.offset + piece.length);
    link.send(piece, { step: work.step, bucket: work.bucket, total: work.bytes.byteLength }, payload);
  }
}

/** A sum in reduce-scatter, a copy otherwise. */
function absorb({ payload }: Frame, { kind, offset }: Piece, { bytes }: CollectiveWork): void {
  if (kind === "reduce-scatter") addFloats(bytes, offset, payload);
  else bytes.set(payload, offset);
}

function isOlder(header: FrameHeader, { step, bucket }: CollectiveWork): boolean {
  return header.step < step || (header.step === step && header.bucket < bucket);
}

function isDue(header: FrameHeader, piece: Piece, { step, bucket, bytes }: CollectiveWork): boolean {
  return (
    header.kind === piece.kind &&
    header.step === step &&
    header.bucket === bucket &&
    header.chunk === piece.chunk &&
    header.segment === piece.segment &&
    header.offset === piece.offset &&
    header.length === piece.length &&
    header.total === bytes.byteLength
  );
}
