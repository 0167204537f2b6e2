// The words for the frames of a ring: what was expected, what came.

import type { FrameHeader } from "../../proto/frame.ts";
import type { Piece } from "./ring.ts";

/** "reduce-scatter step 5 bucket 0 chunk 2 segment 3 (bytes 4096 to 8191 of 65536)" */
export function describePiece(piece: Piece, call: { step: number; bucket: number; bytes: Uint8Array }): string {
  return describe({ ...piece, step: call.step, bucket: call.bucket, total: call.bytes.byteLength });
}

/** The same words, for a frame that came. */
export function describeFrame(header: FrameHeader): string {
  return describe(header);
}

function describe(frame: Omit<Piece, "kind"> & { kind: string; step: number; bucket: number; total: number }): string {
  const { kind, step, bucket, chunk, segment, offset, length, total } = frame;
  const bytes = length === 0 ? "no bytes" : `bytes ${offset} to ${offset + length - 1}`;
  return `${kind} step ${step} bucket ${bucket} chunk ${chunk} segment ${segment} (${bytes} of ${total})`;
}
