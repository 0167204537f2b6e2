// Writes parts of checkpoints in a thread, one at a time, so that training goes on meanwhile. The memory of a copy goes to
// the thread with the order, comes back with its answer, and is used again for the next one.

import { Worker } from "node:worker_threads";
import { RingtuneError } from "../../common/errors.ts";
import type { PlainError } from "../control/thread.ts";
import type { PartOrder, WrittenFile } from "./checkpoint-part.ts";

export interface PartWriter {
  /** Rejects as writePart does. Call it again when it is settled. */
  write(order: PartOrder): Promise<readonly WrittenFile[]>;
  /** Memory for the next copy, if there is some. */
  readonly room: Float32Array | undefined;
  /** Ends at once, whatever is being written. */
  close(): Promise<void>;
}

export type ToWriter = PartOrder;
export type FromWriter = { readonly copy: Float32Array } & (
  { readonly files: readonly WrittenFile[] } | { readonly error: PlainError }
);

export function createPartWriter(): PartWriter {
  let thread: Worker | undefined;
  let room: Float32Array | undefined;
  let settle: ((answer: FromWriter | RingtuneError) => void) | undefined;

  function start(): Worker {
    const worker = new Worker(new URL("./checkpoint-thread.js", import.meta.url));
    const fail = (what: string): void => {
      thread = undefined;
      settle?.(new RingtuneError("internal", `the thread that writes checkpoints ${what}`));
    };
    worker.on("message", (answer: FromWriter) => settle?.(answer));
    worker.on("error", (cause) => fail(`failed: ${cause.message}`));
    worker.on("exit", () => fail("has ended"));
    worker.unref(); // a worker that has nothing else to do may go
    return worker;
  }

  return {
    get room() {
      return room;
    },
    async write(order) {
      thread ??= start();
      const answering = new Promise<FromWriter | RingtuneError>((resolve) => (settle = resolve));
      room = undefined;
      thread.postMessage(order, [order.copy.buffer as ArrayBuffer]);
      const answer = await answering;
      settle = undefined;
      if (answer instanceof RingtuneError) throw answer;
      room = answer.copy;
      if ("error" in answer) throw new RingtuneError(answer.error.code, answer.error.message);
      return answer.files;
    },
    async close() {
      await thread?.terminate();
    },
  };
}
