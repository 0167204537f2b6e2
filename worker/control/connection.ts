// A worker's connection to its coordinator, as the main thread sees it: messages in, messages out. The stream itself lives
// in a thread of its own (thread.ts), which lasts as long as the connection.

import { Worker } from "node:worker_threads";
import type { Credentials } from "../../common/certificates.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { HealthOptions } from "./health.ts";
import type { Activity, FromThread, PlainError, Sendable, ToThread } from "./thread.ts";

export interface Connection {
  send(message: Sendable): void;
  /** Says what the worker does, now and with every heartbeat to come. */
  doing(activity: Activity): void;
  /** Heartbeats from now on, every so many milliseconds, also while this thread computes. */
  beatEvery(ms: number): void;
  /** Resolves when everything sent has arrived, or the coordinator no longer answers. */
  end(): Promise<void>;
}

export interface ConnectionOptions {
  /** host:port */
  readonly address: string;
  readonly timeoutMs: number;
  /** For mutual TLS. */
  readonly credentials?: Credentials;
  /** Answer health checks there. */
  readonly health?: HealthOptions;
  /** Health checks are answered at this address. */
  readonly healthy?: (url: string) => void;
  /** Gives up waiting for the coordinator to answer. */
  readonly signal: AbortSignal;
  readonly message: (message: FromCoordinator) => void;
  /** Called once. Without an error the coordinator ended the session. */
  readonly closed: (error: RingtuneError | undefined) => void;
}

/** Rejects as openSession does: with `timed_out` when nobody answers, with the signal's reason when that aborts before. */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  options.signal.throwIfAborted();
  const thread = new Worker(new URL("./thread.js", import.meta.url));
  const tell = (order: ToThread): void => thread.postMessage(order);
  let isClosed = false;
  const close = (error: PlainError | undefined): void => {
    if (isClosed) return;
    isClosed = true;
    options.closed(error && revive(error));
  };
  let opened: (error: RingtuneError | undefined) => void = () => undefined;
  let ended: () => void = () => undefined;
  const opening = new Promise<RingtuneError | undefined>((resolve) => (opened = resolve));
  const ending = new Promise<void>((resolve) => (ended = resolve));
  thread.on("message", (news: FromThread) => {
    switch (news.kind) {
      case "health":
        return options.healthy?.(news.url);
      case "opened":
        return opened(news.error && revive(news.error));
      case "message":
        if (!isClosed) options.message(news.message);
        return;
      case "closed":
        return close(news.error);
      case "ended":
        return ended();
    }
  });
  thread.on("error", (cause) => {
    const error: PlainError = { code: "internal", message: `the control thread failed: ${cause.message}` };
    opened(revive(error));
    close(error);
    ended();
  });
  const cancel = (): void => opened(options.signal.reason as RingtuneError);
  options.signal.addEventListener("abort", cancel, { once: true });
  const { address, timeoutMs, credentials, health } = options;
  tell({ kind: "open", address, timeoutMs, credentials, health });
  const problem = await opening;
  options.signal.removeEventListener("abort", cancel);
  if (problem !== undefined) {
    await thread.terminate();
    throw problem;
  }
  return {
    send: (message) => tell({ kind: "send", message }),
    doing: (activity) => tell({ kind: "doing", activity }),
    beatEvery: (ms) => tell({ kind: "every", ms }),
    async end() {
      tell({ kind: "end" });
      await ending;
      isClosed = true;
      await thread.terminate();
    },
  };
}

function revive({ code, message }: PlainError): RingtuneError {
  return new RingtuneError(code, message);
}
