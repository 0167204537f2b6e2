// What connects a rank to the others in one generation: a way out to each rank that it sends to, opened when it is first
// used, and the frames that come in from each, with the credit that keeps both bounded. Knows nothing of rounds or sums.
//
// A sender says hello and sends no data until the receiver, having formed the same generation, answers with a credit:
// "I have taken k frames and buffer up to `window` more". So frames of a generation cannot arrive before it exists here, a
// rank that is ahead stops after `window` frames, and `sent - taken` frames are exactly those whose bytes may not have left.

import { decodeFrame, encodeHeader, type Dtype, type FrameHeader, type FrameProblem } from "../../proto/frame.ts";
import { hostName, parseAddress } from "./address.ts";
import type { Piece } from "./pieces.ts";
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

/** Who this rank is, and among whom. */
export interface Position {
  readonly job: bigint;
  readonly generation: number;
  readonly rank: number;
  readonly worldSize: number;
  /** Of every rank, in rank order. */
  readonly addresses: readonly string[];
}

export interface LinkEvents {
  /** A frame waits to be taken, a rank took frames or joined, or a signal came: what waits may go on. */
  onProgress(): void;
  onFailure(sentence: string): void;
  onDrop(reason: DropReason): void;
}

/** The way to another rank. */
export interface Outgoing {
  readonly rank: number;
  readonly address: string;
  /** It is on another host. */
  readonly far: boolean;
  /** The other rank has joined this generation. */
  readonly joined: boolean;
  /** Frames that may be sent now. */
  readonly room: number;
  /** Frames sent whose bytes may not have left. */
  readonly unacknowledged: number;
  /** Does not copy `payload`. */
  send(piece: Piece, call: { step: number; bucket: number; total: number; dtype: Dtype }, payload: Uint8Array): void;
  /** Wakes the other rank, if it has formed this generation. Needs no credit: a rank that waits is woken once by each. */
  signal(): void;
}

/** The frames of another rank. */
export interface Incoming {
  readonly rank: number;
  /** The next one; taking it gives credit for another. */
  take(): Frame | undefined;
  /** Frees the memory of a frame that was taken: its payload is read no more. */
  release(frame: Frame): void;
  /** Tells the sender of every frame taken: at the end of a call, since it waits for that. */
  acknowledge(): void;
}

export interface Links {
  to(rank: number): Outgoing;
  from(rank: number): Incoming;
  /** `rank` said hello on this connection. False if it had on another, or the links are closed. */
  attach(rank: number, connection: string): boolean;
  /** Whether messages on this connection come from `rank`. */
  owns(rank: number, connection: string): boolean;
  deliver(rank: number, frame: Frame): void;
  /** Discards what was not taken, and what has not left unless it `mayLinger`: nobody writes to it any more. */
  close(mayLinger: boolean): void;
}

type SendControl = (fields: Partial<FrameHeader> & Pick<FrameHeader, "kind">) => Buffer;

export function createLinks(position: Position, window: number, transport: Transport, events: LinkEvents): Links {
  const outgoing = new Map<number, Outgoing & { close(mayLinger: boolean): void }>();
  const incoming = new Map<number, ReturnType<typeof createIncoming>>();
  let closed = false;
  const header: SendControl = (fields) =>
    encodeHeader({
      dtype: "bytes",
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
  const from = (rank: number): ReturnType<typeof createIncoming> => {
    const known = incoming.get(rank) ?? createIncoming(rank, window, header, transport, events);
    incoming.set(rank, known);
    return known;
  };
  return {
    to(rank) {
      const known = outgoing.get(rank) ?? createOutgoing(rank, position, header, transport, events);
      outgoing.set(rank, known);
      return known;
    },
    from,
    attach: (rank, connection) => !closed && from(rank).attach(connection),
    owns: (rank, connection) => incoming.get(rank)?.connection === connection,
    deliver: (rank, frame) => from(rank).deliver(frame),
    close(mayLinger) {
      closed = true;
      for (const link of outgoing.values()) link.close(mayLinger);
      for (const link of incoming.values()) link.close();
    },
  };
}

function createOutgoing(
  rank: number,
  position: Position,
  header: SendControl,
  transport: Transport,
  events: LinkEvents,
): Outgoing & { close(mayLinger: boolean): void } {
  const [own, other] = [position.rank, rank].map((each) => parseAddress(position.addresses[each]!));
  const { tcp: address } = other!; // as messages name it
  let sent = 0;
  let taken = 0; // of `sent`, by the other rank
  let granted = 0; // how far `sent` may go; 0 until the other rank joins

  const onReply = (parts: readonly Uint8Array[]): void => {
    const decoded = decodeFrame(parts);
    if (!decoded.ok) return events.onDrop(decoded.problem);
    const credit = decoded.header;
    if (credit.kind !== "credit") return events.onDrop("unexpected_kind");
    const problem = mismatch(credit, position);
    if (problem !== undefined) return events.onDrop(problem);
    if (credit.source !== rank) return events.onDrop("other_source");
    if (credit.offset < taken || credit.offset > sent) {
      return events.onFailure(
        `rank ${rank} acknowledges ${credit.offset} frames, of ${sent} sent and ${taken} acknowledged before`,
      );
    }
    taken = credit.offset;
    granted = taken + credit.segment;
    events.onProgress();
  };

  const connection: Connection = transport.connect(position.addresses[rank]!, {
    onMessage: onReply,
    onLost: (reason) => events.onFailure(`lost the connection to rank ${rank} (${address}: ${reason})`),
  });
  connection.send([header({ kind: "hello", chunk: position.worldSize })]);

  return {
    rank,
    address,
    far: hostName(own!) !== hostName(other!),
    get joined() {
      return granted > 0;
    },
    get room() {
      return granted - sent;
    },
    get unacknowledged() {
      return sent - taken;
    },
    send({ kind, chunk, segment, offset, length }, { step, bucket, total, dtype }, payload) {
      sent++;
      connection.send([header({ kind, dtype, step, bucket, chunk, segment, offset, total, length }), payload]);
    },
    signal: () => connection.send([header({ kind: "signal" })]),
    close: (mayLinger) => connection.close(mayLinger),
  };
}

function createIncoming(
  rank: number,
  window: number,
  header: SendControl,
  transport: Transport,
  events: LinkEvents,
): Incoming & {
  readonly connection: string | undefined;
  attach(from: string): boolean;
  deliver(frame: Frame): void;
  close(): void;
} {
  let received = 0;
  let announced = 0; // of `received`, to the sender
  let connection: string | undefined;
  const mailbox: Frame[] = [];

  const announce = (): void => {
    announced = received;
    if (connection !== undefined) {
      transport.reply(connection, header({ kind: "credit", offset: received, segment: window }));
    }
  };

  return {
    rank,
    get connection() {
      return connection;
    },
    take() {
      const frame = mailbox.shift();
      if (frame === undefined) return undefined;
      received++;
      // A quarter of the window at a time: the sender never runs dry, and credits stay few.
      if ((received - announced) * 4 >= window) announce();
      return frame;
    },
    release: ({ payload }) => transport.release(payload),
    acknowledge() {
      if (received > announced) announce();
    },
    attach(from) {
      if (connection !== undefined) return false;
      connection = from;
      announce();
      return true;
    },
    deliver(frame) {
      if (received + mailbox.length - announced >= window) {
        return events.onFailure(`rank ${rank} sent more than the ${window} frames that it had credit for`);
      }
      mailbox.push(frame);
      events.onProgress();
    },
    close() {
      mailbox.length = 0;
      connection = undefined;
    },
  };
}

/** Why a frame is not of this generation, or not of another rank of it, if it is not. */
export function mismatch(header: FrameHeader, position: Omit<Position, "addresses">): DropReason | undefined {
  if (header.job !== position.job) return "other_job";
  if (header.generation !== position.generation) return "other_generation";
  if (header.source === position.rank || header.source >= position.worldSize) return "other_source";
  return undefined;
}
