// A call over the ring: executes a schedule, frame by frame, as frames of the predecessor and credit of the successor arrive.

import { addNumbers } from "../simd/sum.ts";
import type { Call } from "./call.ts";
import { describePiece } from "./describe.ts";
import { sendPiece, takeDue, type WireWork } from "./due.ts";
import type { Frame, Incoming, Outgoing } from "./links.ts";
import type { Piece } from "./pieces.ts";
import type { Schedule } from "./ring.ts";
import type { LaneMemory } from "./shared-memory/lane-memory.ts";

/** So much at the end leaves for another host as copies, so that the call need not wait a latency to hear that it has left. */
const copiedBytes = 2 * 1024 * 1024;

export interface RingNeighbours {
  readonly successor: Outgoing;
  readonly predecessor: Incoming;
  /** Hears of each frame of an earlier call, which is dropped. */
  readonly onOlder: () => void;
}

/** With `memory`, a piece is fetched from the ranks of this host before it is needed, and given to them when it is the result. */
export function createRingCall(
  work: WireWork,
  { sends, receives, lead, partial }: Schedule,
  { successor, predecessor, onOlder }: RingNeighbours,
  memory?: LaneMemory,
): Call {
  const { step, bucket } = work;
  const copied = successor.far ? countLast(sends, copiedBytes) : 0;
  let sent = 0;
  let received = 0;
  let bytesOnWire = 0;

  const sendReady = (): void => {
    const ready = Math.min(sends.length, lead + received);
    while (sent < ready && successor.room > 0) {
      const isOwn = sent < lead;
      const piece = sends[sent++]!;
      if (isOwn) memory?.fetch(piece);
      bytesOnWire += piece.length;
      sendPiece(successor, piece, work, sent > sends.length - copied ? "as a copy" : "in place");
      if (isOwn && piece.kind !== "reduce-scatter") memory?.give(piece);
    }
  };

  return {
    step,
    bucket,
    get bytesSent() {
      return bytesOnWire + (memory?.bytesMoved ?? 0);
    },
    get bytesBetweenHosts() {
      return successor.far ? bytesOnWire : 0;
    },
    advance() {
      sendReady();
      while (received < receives.length) {
        const piece = receives[received]!;
        const due = takeDue(predecessor, piece, work, onOlder);
        if (due.kind !== "frame") return due;
        if (piece.kind === "reduce-scatter") memory?.fetch(piece);
        absorb(due.frame, piece, work);
        predecessor.release(due.frame);
        const isResult = received++ >= partial;
        sendReady();
        if (isResult) memory?.give(piece);
      }
      predecessor.acknowledge();
      return { kind: sent === sends.length && successor.unacknowledged <= copied ? "done" : "pending" };
    },
    describe() {
      const due = receives[received];
      const done = `${received} of ${receives.length} frames received, ${sent} of ${sends.length} sent`;
      const name = `rank ${successor.rank} (${successor.address})`;
      if (!successor.joined && sends.length > 0) return `waiting for ${name} to join the generation; ${done}`;
      if (due !== undefined) {
        return `waiting for rank ${predecessor.rank} to send ${describePiece(due, work)}; ${done}`;
      }
      const untaken = sends.length - sent + successor.unacknowledged - copied;
      return `waiting for ${name} to take ${untaken} more frames of step ${step} bucket ${bucket}; ${done}`;
    },
  };
}

/** How many of the last pieces have no more than so many bytes. None of a broadcast: who makes one waits until all has arrived. */
function countLast(pieces: readonly Piece[], bytes: number): number {
  let count = 0;
  for (let left = bytes; count < pieces.length; count++) {
    const { kind, length } = pieces[pieces.length - 1 - count]!;
    left -= length;
    if (left < 0 || kind === "broadcast") break;
  }
  return count;
}

/** A sum in reduce-scatter, a copy otherwise. */
function absorb({ payload }: Frame, { kind, offset }: Piece, { bytes, dtype }: WireWork): void {
  if (kind === "reduce-scatter" && dtype !== "bytes") addNumbers(dtype, bytes, offset, payload);
  else bytes.set(payload, offset);
}
