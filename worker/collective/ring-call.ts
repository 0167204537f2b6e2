// A call over the ring: executes a schedule, frame by frame, as frames of the predecessor and credit of the successor arrive.

import type { Dtype, FrameHeader } from "../../proto/frame.ts";
import { addNumbers } from "../simd/sum.ts";
import type { Call, Outcome } from "./call.ts";
import { describeFrame, describePiece } from "./describe.ts";
import type { Frame, Incoming, Outgoing } from "./links.ts";
import type { Piece, Schedule } from "./ring.ts";

export interface RingWork {
  readonly schedule: Schedule;
  readonly step: number;
  readonly bucket: number;
  /** The caller's buffer. */
  readonly bytes: Uint8Array;
  /** What lies in it; whatever is summed is not "bytes". */
  readonly dtype: Dtype;
}

export interface RingNeighbours {
  readonly successor: Outgoing;
  readonly predecessor: Incoming;
  /** Hears of each frame of an earlier call, which is dropped. */
  readonly onOlder: () => void;
}

export function createRingCall(work: RingWork, { successor, predecessor, onOlder }: RingNeighbours): Call {
  const { step, bucket, bytes, dtype } = work;
  const { sends, receives, lead } = work.schedule;
  let sent = 0;
  let received = 0;
  let bytesSent = 0;

  const sendReady = (): void => {
    const ready = Math.min(sends.length, lead + received);
    while (sent < ready && successor.room > 0) {
      const piece = sends[sent++]!;
      bytesSent += piece.length;
      const payload = bytes.subarray(piece.offset, piece.offset + piece.length);
      successor.send(piece, { step, bucket, total: bytes.byteLength, dtype }, payload);
    }
  };

  const unexpected = (expected: Piece, header: FrameHeader): Outcome => {
    const [due, came] = [describePiece(expected, work), describeFrame(header)];
    const neighbour = predecessor.rank;
    return {
      kind: "broken",
      sentence: `expected ${due} from rank ${neighbour}, but ${came} came`,
      facts: { neighbour, chunk: expected.chunk, segment: expected.segment, expected: due, came },
    };
  };

  return {
    step,
    bucket,
    get bytesSent() {
      return bytesSent;
    },
    advance() {
      sendReady();
      while (received < receives.length) {
        const frame = predecessor.take();
        if (frame === undefined) return { kind: "pending" };
        if (isOlder(frame.header, work)) {
          onOlder();
          continue;
        }
        const expected = receives[received]!;
        if (!isDue(frame.header, expected, work)) return unexpected(expected, frame.header);
        absorb(frame, expected, work);
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
function absorb({ payload }: Frame, { kind, offset }: Piece, { bytes, dtype }: RingWork): void {
  if (kind === "reduce-scatter" && dtype !== "bytes") addNumbers(dtype, bytes, offset, payload);
  else bytes.set(payload, offset);
}

function isOlder(header: FrameHeader, { step, bucket }: RingWork): boolean {
  return header.step < step || (header.step === step && header.bucket < bucket);
}

function isDue(header: FrameHeader, piece: Piece, { step, bucket, bytes, dtype }: RingWork): boolean {
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
