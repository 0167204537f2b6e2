// A worker's connection to its coordinator, as the main thread sees it: messages in, messages out. The streams themselves,
// one after another when one is lost, live in a thread of its own (thread.ts).

import { Worker } from "node:worker_threads";
import type { Credentials } from "../../common/certificates.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { HealthOptions } from "./health.ts";
import type { Activity, FromThread, PlainError, Sendable, ToThread } from "./thread.ts";

export interface Connection {
  /**
   * Calls the coordinator at `address` and says `join()` first; resolves with its first answer. Rejects as openSession does,
   * with `unavailable` when none comes in time, and with the coordinator's error when it ends the stream instead. Only while no
   * stream is open.
   */
  join(call: Call): Promise<FromCoordinator>;
  /** Lost while no stream is open. */
  send(message: Sendable): void;
  /** Says what the worker does, now and with every heartbeat to come. */
  doing(activity: Activity): void;
  /** Heartbeats from now on, every so many milliseconds, also while this thread computes. */
  beatEvery(ms: number): void;
  /** Resolves when everything sent has arrived, or the coordinator no longer answers. */
  end(): Promise<void>;
}

export interface Call {
  /** host:port */
  readonly address: string;
  readonly timeoutMs: number;
  /** Waits for somebody to listen there; otherwise whoever refuses the connection is not asked again. */
  readonly patient: boolean;
  /** So long the first answer is waited for. */
  readonly answerWithinMs: number;
  /** A coordinator that has not answered a ping for so long is given up; 0 puts up with any silence. */
  readonly silenceMs: number;
  readonly join: () => Sendable;
}

export interface ConnectionOptions {
  /** For mutual TLS. */
  readonly credentials?: Credentials;
  /** Answer health checks there. */
  readonly health?: HealthOptions;
  /** Health checks are answered at this address. */
  readonly healthy?: (url: string) => void;
  /** Gives up waiting for the coordinator to answer. */
  readonly signal: AbortSignal;
  /** After the first answer. */
  readonly message: (message: FromCoordinator) => void;
  /** A stream is over after the first answer. Without an error the coordinator ended the session. */
  readonly closed: (error: RingtuneError | undefined) => void;
}

export function createConnection(options: ConnectionOptions): Connection {
  const thread = new Worker(new URL("./thread.js", import.meta.url));
  const tell = (order: ToThread): void => thread.postMessage(order);
  /** Who waits for the first answer of a call. */
  let caller:
    | { readonly address: string; opened(): void; answered(message: FromCoordinator): void; failed(error: Error): void }
    | undefined;
  let isOpen = false;
  let isEnding = false;
  let ended: () => void = () => undefined;
  const ending = new Promise<void>((resolve) => (ended = resolve));

  function close(error: RingtuneError | undefined): void {
    const waiting = caller;
    const wasOpen = isOpen;
    caller = undefined;
    isOpen = false;
    if (waiting !== undefined) return waiting.failed(error ?? gone(waiting.address));
    if (wasOpen && !isEnding) options.closed(error);
  }

  thread.on("message", (news: FromThread) => {
    switch (news.kind) {
      case "health":
        return options.healthy?.(news.url);
      case "opened":
        if (news.error === undefined) caller?.opened();
        else close(revive(news.error));
        return;
      case "message": {
        const waiting = caller;
        caller = undefined;
        if (waiting !== undefined) waiting.answered(news.message);
        else if (isOpen) options.message(news.message);
        return;
      }
      case "closed":
        return close(news.error && revive(news.error));
      case "ended":
        return ended();
    }
  });
  thread.on("error", (cause) => {
    close(new RingtuneError("internal", `the control thread failed: ${cause.message}`, { cause }));
    ended();
  });
  const cancel = (): void => {
    // A stream that is open is ended by its user, who has last words.
    if (caller !== undefined) close(options.signal.reason as RingtuneError);
  };
  options.signal.addEventListener("abort", cancel, { once: true });
  return {
    async join({ join, ...call }) {
      options.signal.throwIfAborted();
      return new Promise<FromCoordinator>((resolve, reject) => {
        caller = {
          address: call.address,
          opened() {
            isOpen = true;
            tell({ kind: "send", message: join() });
          },
          answered: resolve,
          failed: reject,
        };
        const { credentials, health } = options;
        tell({ kind: "open", ...call, credentials, health });
      });
    },
    send(message) {
      if (isOpen) tell({ kind: "send", message });
    },
    doing: (activity) => tell({ kind: "doing", activity }),
    beatEvery: (ms) => tell({ kind: "every", ms }),
    async end() {
      isEnding = true;
      options.signal.removeEventListener("abort", cancel);
      tell({ kind: "end" });
      await ending;
      await thread.terminate();
    },
  };
}

/** It ended the stream, and did not say why. */
export function gone(address: string): RingtuneError {
  return new RingtuneError("worker_lost", `the coordinator at ${address} is gone`);
}

function revive({ code, message }: PlainError): RingtuneError {
  return new RingtuneError(code, message);
}
