// The two neighbours of a rank in one generation: a connection to the successor, the frames of the predecessor, and the
// credit that keeps both bounded. Knows nothing of rounds or sums.
//
// A sender says hello and sends nothing else until the receiver, having formed the same generation, answers with a credit:
// "I have taken k frames and buffer up to `window` more". So frames of a generation cannot arrive before it exists here, a
// rank that is ahead stops after `window` frames, and `sent - taken` frames are exactly those whose bytes may not have left.

import { decodeFrame, encodeHeader, type FrameHeader, type FrameProblem } from "../../proto/frame.ts";
import type { Piece } from "./ring.ts";
import type { Connection, Transport } from "./transport.ts";

/** Why a message was dropped; the values are metric labels. */
export type DropReason =
  | FrameProblem
  | "other_job"
  | "other_generation"
  | "other_source"
  | "other_step"
  | "duplicate_hello"
  | "too_many_hellos"
  | "no_credit"
  | "unexpected_kind";

export interface Frame {
  readonly header: FrameHeader;
  readonly payload: Uint8Array;
}

/** Who this rank is, and between whom. */
export interface Position {
  readonly job: bigint;
  readonly generation: number;
  readonly rank: number;
  readonly worldSize: number;
  readonly predecessor: number;
  readonly successor: number;
  readonly successorAddress: string;
}

export interface LinkEvents {
  /** A frame waits to be taken. */
  onFrame(): void;
  /** The successor took frames, or joined. */
  onCredit(): void;
  onFailure(sentence: string): void;
  onDrop(reason: DropReason): void;
}

export interface Link {
  /** The successor has joined this generation. */
  readonly joined: boolean;
  /** Frames that may be sent now. */
  readonly room: number;
  /** Frames sent whose bytes may not have left. */
  readonly unacknowledged: number;
  /** Does not copy `payload`. */
  send(piece: Piece, call: { step: number; bucket: number; total: number }, payload: Uint8Array): void;
  /** The next frame of the predecessor; taking it gives it credit for another. */
  take(): Frame | undefined;
  /** Tells the predecessor of every frame taken: at the end of a call, since it waits for that. */
  acknowledge(): void;
  /** The predecessor said hello on this connection. False if it had on another, or the link is closed. */
  attach(connection: string): boolean;
  /** Whether frames on this connection come from the predecessor. */
  owns(connection: string): boolean;
  deliver(frame: Frame): void;
  /** Discards what has not left and what was not taken. */
  close(): void;
}

export function createLink(position: Position, window: number, transport: Transport, events: LinkEvents): Link {
  let sent = 0;
  let taken = 0; // of `sent`, by the successor
  let granted = 0; // how far `sent` may go; 0 until the successor joins
  let received = 0; // from the predecessor, by us
  let announced = 0; // of `received`
  let predecessor: string | undefined;
  let closed = false;
  const mailbox: Frame[] = [];

  const header = (fields: Partial<FrameHeader> & Pick<FrameHeader, "kind">): Buffer =>
    encodeHeader({
      job: position.job,
      generation: position.generation,
      source: position.rank,
      step: 0,
      bucket: 0,
      chunk: 0,
      segment: 0,
      offset: 0,
      total: 0,
      length: 0,
      ...fields,
    });

  const announce = (): void => {
    announced = received;
    if (predecessor !== undefined) {
      transport.reply(predecessor, header({ kind: "credit", offset: received, segment: window }));
    }
  };

  const onReply = (parts: readonly Uint8Array[]): void => {
    const decoded = decodeFrame(parts);
    if (!decoded.ok) return events.onDrop(decoded.problem);
    const credit = decoded.header;
    if (credit.kind !== "credit") return events.onDrop("unexpected_kind");
    const problem = mismatch(credit, position, position.successor);
    if (problem !== undefined) return events.onDrop(problem);
    if (credit.offset < taken || credit.offset > sent) {
      return events.onFailure(
        `rank ${position.successor} acknowledges ${credit.offset} frames, of ${sent} sent and ${taken} acknowledged before`,
      );
    }
    taken = credit.offset;
    granted = taken + credit.segment;
    events.onCredit();
  };

  const connection: Connection = transport.connect(position.successorAddress, {
    onMessage: onReply,
    onLost: (reason) =>
      events.onFailure(`lost the connection to rank ${position.successor} (${position.successorAddress}: ${reason})`),
  });
  connection.send([header({ kind: "hello", chunk: position.worldSize })]);

  return {
    get joined() {
      return granted > 0;
    },
    get room() {
      return granted - sent;
    },
    get unacknowledged() {
      return sent - taken;
    },
    send({ kind, chunk, segment, offset, length }, { step, bucket, total }, payload) {
      sent++;
      connection.send([header({ kind, step, bucket, chunk, segment, offset, total, length }), payload]);
    },
    take() {
      const frame = mailbox.shift();
      if (frame === undefined) return undefined;
      received++;
      // A quarter of the window at a time: the sender never runs dry, and credits stay few.
      if ((received - announced) * 4 >= window) announce();
      return frame;
    },
    acknowledge() {
      if (received > announced) announce();
    },
    attach(from) {
      if (closed || predecessor !== undefined) return false;
      predecessor = from;
      announce();
      return true;
    },
    owns: (from) => from === predecessor,
    deliver(frame) {
      if (received + mailbox.length - announced >= window) {
        return events.onFailure(
          `rank ${position.predecessor} sent more than the ${window} frames that it had credit for`,
        );
      }
      mailbox.push(frame);
      events.onFrame();
    },
    close() {
      closed = true;
      mailbox.length = 0;
      predecessor = undefined;
      connection.close();
    },
  };
}

/** Why a frame is not of this generation and neighbour, if it is not. */
export function mismatch(
  header: FrameHeader,
  position: Pick<Position, "job" | "generation">,
  source: number,
): DropReason | undefined {
  if (header.job !== position.job) return "other_job";
  if (header.generation !== position.generation) return "other_generation";
  if (header.source !== source) return "other_source";
  return undefined;
}
