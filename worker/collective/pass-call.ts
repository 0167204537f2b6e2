// A call along a chain of ranks, for what some of them lack: the first sends its buffers, each of the others takes them and
// passes them on. Only these ranks make it. Frames are as large as they may be, so that what the credit allows leaves without
// the thread of the first rank, which may compute meanwhile.
//
//     rank 0 ---> rank 3 ---> rank 4        with bandwidth B, S bytes and frames of s bytes, n ranks need S/B + (n-2) * s/B
//
// A frame is forwarded when it is taken, from the buffer that it was copied into, which is never written again.

import { maxPayloadBytes } from "../../proto/frame.ts";
import type { Call } from "./call.ts";
import { describePiece } from "./describe.ts";
import { sendPiece, takeDue, type WireWork } from "./due.ts";
import type { Incoming, Outgoing } from "./links.ts";
import { cutInto } from "./pieces.ts";

export interface PassNeighbours {
  /** Undefined for the first rank. */
  readonly before: Incoming | undefined;
  /** Undefined for the last one. */
  readonly after: Outgoing | undefined;
  /** Hears of each frame of an earlier call, which is dropped. */
  readonly onOlder: () => void;
}

export function createPassCall(
  buffers: readonly Uint8Array[],
  step: number,
  { before, after, onOlder }: PassNeighbours,
): Call {
  const due = buffers.flatMap((bytes, bucket) => {
    const work: WireWork = { step, bucket, bytes, dtype: "bytes" };
    return cutInto(1, bytes.byteLength, maxPayloadBytes)("broadcast", [0]).map((piece) => ({ piece, work }));
  });
  let received = before === undefined ? due.length : 0;
  let sent = after === undefined ? due.length : 0;
  let bytesSent = 0;

  const sendReady = (): void => {
    while (after !== undefined && sent < received && after.room > 0) {
      const { piece, work } = due[sent++]!;
      bytesSent += piece.length;
      sendPiece(after, piece, work);
    }
  };

  return {
    step,
    bucket: 0,
    get bytesSent() {
      return bytesSent;
    },
    get bytesBetweenHosts() {
      return after?.far ? bytesSent : 0;
    },
    advance() {
      sendReady();
      while (before !== undefined && received < due.length) {
        const { piece, work } = due[received]!;
        const taken = takeDue(before, piece, work, onOlder);
        if (taken.kind !== "frame") return taken;
        work.bytes.set(taken.frame.payload, piece.offset);
        before.release(taken.frame);
        received++;
        sendReady();
      }
      before?.acknowledge();
      return { kind: sent === due.length && (after?.unacknowledged ?? 0) === 0 ? "done" : "pending" };
    },
    describe() {
      const next = due[received];
      if (next !== undefined) return `waiting for rank ${before?.rank} to send ${describePiece(next.piece, next.work)}`;
      return `waiting for rank ${after?.rank} (${after?.address}) to take what was sent, ${sent} of ${due.length} frames`;
    },
  };
}
