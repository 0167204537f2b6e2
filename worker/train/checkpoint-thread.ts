// The thread that writes parts of checkpoints: fsync and SHA-256 take as long as they take. Its other end is
// checkpoint-writer.ts.

import { parentPort } from "node:worker_threads";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { writePart } from "./checkpoint-part.ts";
import type { FromWriter, ToWriter } from "./checkpoint-writer.ts";

const port = parentPort;
port?.on("message", (order: ToWriter) => {
  const { copy } = order;
  const answer = (message: FromWriter): void => port.postMessage(message, [copy.buffer as ArrayBuffer]);
  writePart(order).then(
    (files) => answer({ files, copy }),
    (error: unknown) => {
      const code = error instanceof RingtuneError ? error.code : "internal";
      answer({ error: { code, message: describeError(error) }, copy });
    },
  );
});
