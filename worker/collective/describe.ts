// The words for frames: what was expected, what came.

import type { Dtype, FrameHeader } from "../../proto/frame.ts";
import type { Piece } from "./pieces.ts";

/** "reduce-scatter step 5 bucket 0 chunk 2 segment 3 (bytes 4096 to 8191 of 65536, float32)" */
export function describePiece(
  piece: Piece,
  { step, bucket, dtype, bytes }: { step: number; bucket: number; dtype: Dtype; bytes: Uint8Array },
): string {
  return describe({ ...piece, step, bucket, dtype, total: bytes.byteLength });
}

/** The same words, for a frame that came. */
export function describeFrame(header: FrameHeader): string {
  return describe(header);
}

type Described = Omit<Piece, "kind"> & Pick<FrameHeader, "kind" | "dtype" | "step" | "bucket" | "total">;

function describe({ kind, dtype, step, bucket, chunk, segment, offset, length, total }: Described): string {
  const bytes = length === 0 ? "no bytes" : `bytes ${offset} to ${offset + length - 1}`;
  const numbers = dtype === "bytes" ? "" : `, ${dtype}`;
  return `${kind} step ${step} bucket ${bucket} chunk ${chunk} segment ${segment} (${bytes} of ${total}${numbers})`;
}
