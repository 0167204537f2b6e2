// A call over the ring: executes a schedule, frame by frame, as frames of the predecessor and credit of the successor arrive.

import { addNumbers } from "../simd/sum.ts";
import type { Call } from "./call.ts";
import { describePiece } from "./describe.ts";
import { sendPiece, takeDue, type WireWork } from "./due.ts";
import type { Frame, Incoming, Outgoing } from "./links.ts";
import type { Piece } from "./pieces.ts";
import type { Schedule } from "./ring.ts";

export interface RingNeighbours {
  readonly successor: Outgoing;
  readonly predecessor: Incoming;
  /** Hears of each frame of an earlier call, which is dropped. */
  readonly onOlder: () => void;
}

export function createRingCall(
  work: WireWork,
  { sends, receives, lead }: Schedule,
  { successor, predecessor, onOlder }: RingNeighbours,
): Call {
  const { step, bucket } = work;
  let sent = 0;
  let received = 0;
  let bytesSent = 0;

  const sendReady = (): void => {
    const ready = Math.min(sends.length, lead + received);
    while (sent < ready && successor.room > 0) {
      const piece = sends[sent++]!;
      bytesSent += piece.length;
      sendPiece(successor, piece, work);
    }
  };

  return {
    step,
    bucket,
    get bytesSent() {
      return bytesSent;
    },
    get bytesBetweenHosts() {
      return successor.far ? bytesSent : 0;
    },
    advance() {
      sendReady();
      while (received < receives.length) {
        const due = takeDue(predecessor, receives[received]!, work, onOlder);
        if (due.kind !== "frame") return due;
        absorb(due.frame, receives[received]!, work);
        received++;
        sendReady();
      }
      predecessor.acknowledge();
      return { kind: sent === sends.length && successor.unacknowledged === 0 ? "done" : "pending" };
    },
    describe() {
      const due = receives[received];
      const done = `${received} of ${receives.length} frames received, ${sent} of ${sends.length} sent`;
      const name = `rank ${successor.rank} (${successor.address})`;
      if (!successor.joined && sends.length > 0) return `waiting for ${name} to join the generation; ${done}`;
      if (due !== undefined) {
        return `waiting for rank ${predecessor.rank} to send ${describePiece(due, work)}; ${done}`;
      }
      return `waiting for ${name} to take ${successor.unacknowledged} more frames of step ${step} bucket ${bucket}; ${done}`;
    },
  };
}

/** A sum in reduce-scatter, a copy otherwise. */
function absorb({ payload }: Frame, { kind, offset }: Piece, { bytes, dtype }: WireWork): void {
  if (kind === "reduce-scatter" && dtype !== "bytes") addNumbers(dtype, bytes, offset, payload);
  else bytes.set(payload, offset);
}
