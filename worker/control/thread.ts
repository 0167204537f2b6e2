// The thread that speaks to the coordinator. ONNX Runtime computes on the thread that calls it, so a gRPC stream on the
// main thread would stand still for as long as a microbatch takes; here heartbeats go out and closed streams are noticed
// whatever the main thread does. It passes messages on and understands none of them. Its other end is connection.ts.

import { parentPort } from "node:worker_threads";
import type { Credentials } from "../../common/certificates.ts";
import { describeError, RingtuneError, type ErrorCode } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import { openSession, type CoordinatorSession } from "../../proto/session.ts";
import { clockOffset } from "./clock-offset.ts";
import { serveHealth, type Health, type HealthOptions } from "./health.ts";

export type Sendable = Parameters<CoordinatorSession["send"]>[0];

/** What a worker does now, for the coordinator's sentences. */
export interface Activity {
  readonly doing: string;
  /** It waits for its neighbours inside a collective. */
  readonly inCollective: boolean;
}

/** An error without its class, which does not survive the way between threads. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
}

export type ToThread =
  | {
      readonly kind: "open";
      readonly address: string;
      readonly timeoutMs: number;
      readonly patient: boolean;
      readonly silenceMs: number;
      readonly answerWithinMs: number;
      readonly credentials: Credentials | undefined;
      /** Answer health checks there, from now on. */
      readonly health: HealthOptions | undefined;
    }
  | { readonly kind: "send"; readonly message: Sendable }
  | { readonly kind: "doing"; readonly activity: Activity }
  /** Send a heartbeat every so often from now on, whatever else is sent. */
  | { readonly kind: "every"; readonly ms: number }
  | { readonly kind: "end" };

export type FromThread =
  /** Health checks are answered at this address. */
  | { readonly kind: "health"; readonly url: string }
  /** The answer to `open`, which may come again when a stream is over. */
  | { readonly kind: "opened"; readonly error: PlainError | undefined }
  | { readonly kind: "message"; readonly message: FromCoordinator }
  /** The stream is over; without an error the coordinator ended it. */
  | { readonly kind: "closed"; readonly error: PlainError | undefined }
  /** The answer to `end`. */
  | { readonly kind: "ended" };

export function plain(error: unknown): PlainError {
  return { code: error instanceof RingtuneError ? error.code : "internal", message: describeError(error) };
}

const port = parentPort;
if (port !== null) attend((message) => port.postMessage(message));

function attend(tell: (message: FromThread) => void): void {
  let session: CoordinatorSession | undefined;
  let timer: NodeJS.Timeout | undefined;
  let activity: Activity = { doing: "joining", inCollective: false };
  let count = 0;
  let health: Health | undefined;
  const cancelled = new AbortController();
  /** The first message of a stream is Join. */
  let hasJoined = false;
  let joinedMs = 0;
  /** From Join to the first answer. */
  let patience: NodeJS.Timeout | undefined;
  let awaitAnswer = (): void => undefined;
  const beat = (number: number): void => {
    if (hasJoined) session?.send({ kind: "heartbeat", value: { ...activity, count: number } });
  };

  /** Here, where messages arrive whatever the main thread does. */
  function compareClocks({ arrivedMs, sentMs }: { arrivedMs: number; sentMs: number }): void {
    const value = clockOffset({ joinedMs, arrivedMs, sentMs, welcomedMs: Date.now() });
    session?.send({ kind: "clock", value });
  }

  async function open(order: Extract<ToThread, { kind: "open" }>): Promise<void> {
    const { address, timeoutMs, patient, silenceMs, answerWithinMs, credentials } = order;
    hasJoined = false;
    health?.calling();
    try {
      if (order.health !== undefined && health === undefined) {
        health = await serveHealth(order.health);
        tell({ kind: "health", url: health.url });
      }
      session = await openSession({
        ...{ address, timeoutMs, patient, silenceMs },
        ...(credentials === undefined ? {} : { credentials: ownBuffers(credentials) }),
        signal: cancelled.signal,
        handlers: {
          message: (message) => {
            clearTimeout(patience);
            if (message.kind === "welcome") compareClocks(message.value);
            tell({ kind: "message", message });
          },
          closed: (error) => {
            clearTimeout(patience);
            hasJoined = false;
            health?.closed();
            tell({ kind: "closed", error: error && plain(error) });
          },
        },
      });
      const opened = session;
      awaitAnswer = () => {
        const sentence = `the coordinator at ${address} has not answered for ${answerWithinMs} ms, though its connection stands`;
        patience = setTimeout(() => opened.giveUp(new RingtuneError("unavailable", sentence)), answerWithinMs);
      };
      health?.opened();
      tell({ kind: "opened", error: undefined });
    } catch (error) {
      tell({ kind: "opened", error: plain(error) });
    }
  }

  port?.on("message", (order: ToThread) => {
    switch (order.kind) {
      case "open":
        return void open(order);
      case "send":
        if (order.message.kind === "formed") health?.formed();
        session?.send(order.message);
        if (order.message.kind !== "join") return;
        hasJoined = true;
        joinedMs = Date.now();
        return awaitAnswer();
      case "doing":
        activity = order.activity;
        health?.doing(activity.doing);
        return beat(0);
      case "every":
        clearInterval(timer);
        timer = setInterval(() => beat(++count), order.ms);
        return;
      case "end":
        clearInterval(timer);
        clearTimeout(patience);
        cancelled.abort(new RingtuneError("cancelled", "the session was ended"));
        return void Promise.resolve(session?.end()).then(() => tell({ kind: "ended" }));
    }
  });
}

/** A Buffer arrives as the Uint8Array that it is; gRPC wants Buffers. */
function ownBuffers({ ca, certificate, key }: Credentials): Credentials {
  return { ca: Buffer.from(ca), certificate: Buffer.from(certificate), key: Buffer.from(key) };
}
