// What every way between ranks does with pieces of a buffer: sends one, or takes the frame that is due from another rank. Frames
// of an earlier call are dropped, and any other breaks the call off and is named.

import type { Dtype, FrameHeader } from "../../proto/frame.ts";
import type { Outcome } from "./call.ts";
import { describeFrame, describePiece } from "./describe.ts";
import type { Frame, Incoming, Outgoing } from "./links.ts";
import type { Piece } from "./pieces.ts";

/** A call between ranks. */
export interface WireWork {
  readonly step: number;
  readonly bucket: number;
  /** The caller's buffer. */
  readonly bytes: Uint8Array;
  /** What lies in it; whatever is summed is not "bytes". */
  readonly dtype: Dtype;
}

export type Due = { readonly kind: "frame"; readonly frame: Frame } | Exclude<Outcome, { readonly kind: "done" }>;

/** For an `outgoing` that has room. Does not copy. */
export function sendPiece(
  outgoing: Outgoing,
  piece: Piece,
  { step, bucket, bytes, dtype }: WireWork,
  how: "in place" | "as a copy" = "in place",
): void {
  const range = [piece.offset, piece.offset + piece.length] as const;
  const payload = how === "in place" ? bytes.subarray(...range) : bytes.slice(...range);
  outgoing.send(piece, { step, bucket, total: bytes.byteLength, dtype }, payload);
}

/** The frame with `expected`, if it has come; `onOlder` hears of each frame of an earlier call. */
export function takeDue(incoming: Incoming, expected: Piece, work: WireWork, onOlder: () => void): Due {
  for (let frame = incoming.take(); frame !== undefined; frame = incoming.take()) {
    if (isDue(frame.header, expected, work)) return { kind: "frame", frame };
    if (!isOlder(frame.header, work)) return unexpected(frame.header, expected, work, incoming.rank);
    onOlder();
  }
  return { kind: "pending" };
}

function isOlder(header: FrameHeader, { step, bucket }: WireWork): boolean {
  return header.step < step || (header.step === step && header.bucket < bucket);
}

function isDue(header: FrameHeader, piece: Piece, { step, bucket, bytes, dtype }: WireWork): boolean {
  return (
    header.kind === piece.kind &&
    header.dtype === dtype &&
    header.step === step &&
    header.bucket === bucket &&
    header.chunk === piece.chunk &&
    header.segment === piece.segment &&
    header.offset === piece.offset &&
    header.length === piece.length &&
    header.total === bytes.byteLength
  );
}

function unexpected(header: FrameHeader, expected: Piece, work: WireWork, neighbour: number): Due {
  const [due, came] = [describePiece(expected, work), describeFrame(header)];
  return {
    kind: "broken",
    sentence: `expected ${due} from rank ${neighbour}, but ${came} came`,
    facts: { neighbour, chunk: expected.chunk, segment: expected.segment, expected: due, came },
  };
}
