// What the rank that carries a lane between hosts does in the memory of its own host, piece by piece, while other pieces are on the
// wire: it fetches from the others of its group, and gives them the result. Nobody has to meet meanwhile, because the ranges of a
// lane are its carrier's alone, in all buffers of the group: the call has one meeting before, when all buffers are there,
// and one after it, when all carriers are done (route.ts).

import type { WireWork } from "../due.ts";
import type { Piece } from "../pieces.ts";
import { carryOut, type Move } from "./move.ts";
import type { SharedWorld } from "./shared-memory.ts";

/** Moves of a lane: none of its ranges is in another's. */
export interface LaneMoves {
  /** Into the buffer of its carrier. */
  readonly before: readonly Move[];
  /** Out of it. */
  readonly after: readonly Move[];
}

export interface LaneMemory {
  /** What this host has of a piece: its ranks' sum, or what one of them has. Once for each, before it is sent or added to. */
  fetch(piece: Piece): void;
  /** The piece is the result. */
  give(piece: Piece): void;
  /** Bytes read from or written to buffers of others so far. */
  readonly bytesMoved: number;
}

/**
 * Pages of the others' buffers are mapped in such parts at most, a multiple of 64. A move is of a chunk at most, so the region's window
 * always holds a part of each; where it doesn't hold all of them, they are mapped again when they are needed again.
 */
const largestPartBytes = 1024 * 1024;

/** The buffer lies in memory that the group shares. */
export function createLaneMemory(
  { before, after }: LaneMoves,
  world: SharedWorld,
  { bytes, dtype }: Pick<WireWork, "bytes" | "dtype">,
): LaneMemory {
  const { rank } = world;
  const { region } = world.find(bytes)!;
  const [fetches, gives] = [cut(before), cut(after)];
  let bytesMoved = 0;
  const carry = (moves: readonly Move[], { offset, length }: Piece): void => {
    for (const move of moves) {
      const [begin, end] = [Math.max(move.begin, offset), Math.min(move.end, offset + length)];
      if (begin >= end) continue;
      const at = (of: number): number =>
        world.address(region, of, bytes.byteOffset + move.begin, bytes.byteOffset + move.end) + (begin - move.begin);
      bytesMoved += carryOut({ ...move, begin, end }, { rank, region, dtype, at });
    }
  };
  return {
    fetch: (piece) => carry(fetches, piece),
    give: (piece) => carry(gives, piece),
    get bytesMoved() {
      return bytesMoved;
    },
  };
}

function cut(moves: readonly Move[]): Move[] {
  return moves.flatMap((move) => {
    const count = Math.ceil((move.end - move.begin) / largestPartBytes);
    return Array.from({ length: count }, (_, part) => {
      const begin = move.begin + part * largestPartBytes;
      return { ...move, begin, end: Math.min(move.end, begin + largestPartBytes) };
    });
  });
}
