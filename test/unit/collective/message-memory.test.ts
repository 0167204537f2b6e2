import { expect, test } from "vitest";
import { releaseMessage } from "../../../worker/collective/message-memory.ts";

test("a message that was read takes no memory any more", () => {
  const message = new Uint8Array(1024);
  releaseMessage(message);
  expect(message.buffer.byteLength).toBe(0);
  expect(message).toHaveLength(0);
});

test("memory of which a message is a part, or that threads share, stays", () => {
  const memory = new ArrayBuffer(1024);
  const shared = new Uint8Array(new SharedArrayBuffer(1024));
  releaseMessage(new Uint8Array(memory, 0, 512));
  releaseMessage(shared);
  expect(memory.byteLength).toBe(1024);
  expect(shared).toHaveLength(1024);
});
