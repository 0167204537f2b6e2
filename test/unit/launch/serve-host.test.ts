import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { serveHost } from "../../../coordinator/launch/serve-host.ts";

test("a host whose launcher is gone survives every report that nobody reads", async () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const served = serveHost({ input, output, environment: {}, signal: new AbortController().signal });
  const gone = new Error("write EPIPE");
  // As process.stdout does it, which is not destroyed by an error.
  output.emit("error", gone);
  expect(() => output.emit("error", gone)).not.toThrow();
  await served;
});
