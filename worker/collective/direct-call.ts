// A small call in which everybody sends to everybody: executes a schedule of direct.ts as frames and credit arrive.

import { assert } from "../../common/errors.ts";
import { addNumbers } from "../simd/sum.ts";
import type { Call } from "./call.ts";
import { describePiece } from "./describe.ts";
import type { DirectSchedule } from "./direct.ts";
import { sendPiece, takeDue, type WireWork } from "./due.ts";
import type { Frame, Incoming, Outgoing } from "./links.ts";

export interface DirectLinks {
  readonly to: (position: number) => Outgoing;
  readonly from: (position: number) => Incoming;
  /** Hears of each frame of an earlier call, which is dropped. */
  readonly onOlder: () => void;
}

/** `position` is this rank's own place: sums go through the places in ascending order. */
export function createDirectCall(
  work: WireWork,
  { exchanges, sums }: DirectSchedule,
  position: number,
  { to, from, onOlder }: DirectLinks,
): Call {
  const { step, bucket, bytes, dtype } = work;
  const own = bytes.slice(); // what leaves, and what is summed: nobody writes to it
  const peers = exchanges.map((exchange) => ({
    ...exchange,
    outgoing: to(exchange.position),
    incoming: from(exchange.position),
    sent: 0,
    received: [] as Frame[],
  }));
  let bytesSent = 0;
  let bytesBetweenHosts = 0;

  const sendReady = (peer: (typeof peers)[number]): void => {
    while (peer.sent < peer.sends.length && peer.outgoing.room > 0) {
      const piece = peer.sends[peer.sent++]!;
      bytesSent += piece.length;
      if (peer.outgoing.far) bytesBetweenHosts += piece.length;
      sendPiece(peer.outgoing, piece, { ...work, bytes: own });
    }
  };

  const sum = (): void => {
    for (const [index, { offset, length }] of sums.entries()) {
      assert(dtype !== "bytes", "bytes are not summed");
      const operands = peers.map((peer) => peer.received[index]!.payload);
      operands.splice(position, 0, own.subarray(offset, offset + length));
      const [first, ...others] = operands;
      bytes.set(first!, offset);
      for (const other of others) addNumbers(dtype, bytes, offset, other);
    }
  };

  return {
    step,
    bucket,
    get bytesSent() {
      return bytesSent;
    },
    get bytesBetweenHosts() {
      return bytesBetweenHosts;
    },
    advance() {
      for (const peer of peers) sendReady(peer);
      for (const peer of peers) {
        while (peer.received.length < peer.receives.length) {
          const piece = peer.receives[peer.received.length]!;
          const due = takeDue(peer.incoming, piece, work, onOlder);
          if (due.kind === "broken") return due;
          if (due.kind === "pending") break;
          if (sums.length === 0) bytes.set(due.frame.payload, piece.offset);
          peer.received.push(due.frame);
        }
      }
      const isDone = peers.every(
        (peer) => peer.sent === peer.sends.length && peer.received.length === peer.receives.length,
      );
      if (!isDone) return { kind: "pending" };
      sum();
      for (const { incoming, received } of peers) for (const frame of received) incoming.release(frame);
      return { kind: "done" };
    },
    describe() {
      const count = (of: (peer: (typeof peers)[number]) => number): number =>
        peers.reduce((n, peer) => n + of(peer), 0);
      const received = `${count((peer) => peer.received.length)} of ${count((peer) => peer.receives.length)} frames received`;
      const done = `${received}, ${count((peer) => peer.sent)} of ${count((peer) => peer.sends.length)} sent`;
      const sendsTo = peers.find((peer) => peer.sent < peer.sends.length);
      const name = sendsTo && `rank ${sendsTo.outgoing.rank} (${sendsTo.outgoing.address})`;
      if (sendsTo?.outgoing.joined === false) return `waiting for ${name} to join the generation; ${done}`;
      const late = peers.find((peer) => peer.received.length < peer.receives.length);
      if (late === undefined) return `waiting for ${name} to take frames of step ${step} bucket ${bucket}; ${done}`;
      const due = describePiece(late.receives[late.received.length]!, work);
      return `waiting for rank ${late.incoming.rank} to send ${due}; ${done}`;
    },
  };
}
