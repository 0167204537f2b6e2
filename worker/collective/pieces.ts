// How chunks of a buffer are cut into what a frame carries. Every way between ranks, ring or direct, sends such pieces.

import type { DataKind } from "../../proto/frame.ts";
import { chunkBytes } from "./chunks.ts";

/** A segment that travels between two ranks. Offsets and lengths are in bytes of the bucket. */
export interface Piece {
  readonly kind: DataKind;
  readonly chunk: number;
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

/** The pieces of these chunks, in the order of their bytes. */
export type Cut = (kind: DataKind, chunks: readonly number[]) => Piece[];

/**
 * Cuts a buffer that has a chunk for each of `worldSize` ranks into pieces of at most `segmentBytes`. Chunks that follow each other
 * are cut as one, which has the number of the first.
 */
export function cutInto(worldSize: number, byteLength: number, segmentBytes: number): Cut {
  return (kind, chunks) => {
    const runs: { chunk: number; begin: number; end: number }[] = [];
    for (const chunk of [...chunks].sort((a, b) => a - b)) {
      const { begin, end } = chunkBytes(chunk, worldSize, byteLength);
      const last = runs.at(-1);
      if (last?.end === begin) last.end = end;
      else runs.push({ chunk, begin, end });
    }
    return runs.flatMap(({ chunk, begin, end }) => {
      const count = Math.ceil((end - begin) / segmentBytes);
      return Array.from({ length: count }, (_, segment) => {
        const offset = begin + segment * segmentBytes;
        return { kind, chunk, segment, offset, length: Math.min(segmentBytes, end - offset) };
      });
    });
  };
}
