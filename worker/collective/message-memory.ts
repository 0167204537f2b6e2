// The memory of messages that came, given back as soon as they were read, so that the next ones lie where the caches are warm and no
// page has to be made anew. zeromq.js gives each message as an ArrayBuffer outside of V8's heap, which is freed when garbage is
// collected: too late, and at the price of a collection. An ArrayBuffer that is detached is freed by the next turn of the event
// loop. And glibc returns what is freed to the system, a page fault for every 4 KiB of the next message, unless it has learnt
// that large blocks come again and again (mallopt(3), "dynamic mmap threshold"). docs/benchmarks.md
// has what both are worth.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Detach = (this: ArrayBuffer, newLength: 0) => ArrayBuffer;

/** ECMAScript's, which Node 20 has behind a flag; undefined where there is none, and then garbage collection frees. */
const detach = findDetach();

/** Frees the memory of a message. Whoever has a view of it has an empty one from now on. */
export function releaseMessage({ buffer, byteLength }: Uint8Array): void {
  // A small one may be a part of memory that others use.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) detach?.call(buffer, 0);
}

/** Teaches glibc to keep what is freed for the next messages: it does once a block of this size was freed, the largest that it learns from. */
export function keepFreedMemory(): void {
  const largest = 31 * 1024 * 1024;
  detach?.call(new ArrayBuffer(largest), 0); // never touched, so no page of it exists
}

function findDetach(): Detach | undefined {
  const own = (ArrayBuffer.prototype as { transfer?: Detach }).transfer;
  if (own !== undefined) return own;
  const flag = "harmony-rab-gsab-transfer";
  setFlagsFromString(`--${flag}`); // for contexts that are made from now on: this one, and nobody else's
  const found = runInNewContext("ArrayBuffer.prototype.transfer") as Detach | undefined;
  setFlagsFromString(`--no-${flag}`);
  return found;
}
