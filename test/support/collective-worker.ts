// One rank as a process of its own, over real ZeroMQ. Its parent sends it orders over the process channel, one at a time,
// and it answers each; it checks its own sums, so that only verdicts travel.

import { createHash } from "node:crypto";
import { describeError } from "../../common/errors.ts";
import type { Reach } from "../../worker/collective/address.ts";
import type { SessionCollective } from "../../worker/collective/session.ts";
import { createCollectiveEndpoint } from "../../worker/collective/zeromq.ts";

export type Order =
  | { readonly kind: "form"; readonly generation: number; readonly rank: number; readonly endpoints: string[] }
  /** Sums buffers of these lengths, a step each, overwriting every buffer as soon as its call resolves. */
  | { readonly kind: "sum"; readonly lengths: readonly number[]; readonly firstStep: number }
  | { readonly kind: "broadcast"; readonly length: number; readonly root: number; readonly step: number }
  /** Starts a sum and aborts it after so many milliseconds unless it fails before. */
  | { readonly kind: "abandon"; readonly length: number; readonly step: number; readonly afterMs: number }
  | { readonly kind: "close" };

export type Answer =
  | { readonly kind: "ready"; readonly address: string }
  | { readonly kind: "done"; readonly digest: string; readonly bytesSent: number }
  | { readonly kind: "failed"; readonly message: string };

/** What rank `rank` puts in at index i: small integers, so that every sum is exact. */
export function inputAt(rank: number, step: number, i: number): number {
  return ((i * 31 + step * 7) % 1009) * (rank + 1);
}

const [reach = "memory", host = "127.0.0.1"] = process.argv.slice(2);
const endpoint = await createCollectiveEndpoint({ host, reach: reach as Reach });
const shared = endpoint.allocate(1_000_000);
let collective: SessionCollective | undefined;

process.on("message", (order: Order) => {
  carryOut(order).then(tell, (error: unknown) => tell({ kind: "failed", message: describeError(error) }));
});
tell({ kind: "ready", address: endpoint.address });

function tell(answer: Answer): void {
  process.send!(answer);
}

async function carryOut(order: Order): Promise<Answer> {
  const digest = createHash("sha256");
  let bytesSent = 0;
  const signal = new AbortController().signal;
  switch (order.kind) {
    case "form": {
      const { generation, rank, endpoints } = order;
      collective = await endpoint.form({ jobId: "job", generation, rank, endpoints });
      break;
    }
    case "sum":
      for (const [i, length] of order.lengths.entries()) {
        const stats = await sum(collective!, length, order.firstStep + i, signal, (bytes) => digest.update(bytes));
        bytesSent += stats;
      }
      break;
    case "broadcast": {
      const { length, root, step } = order;
      const bytes = new Uint8Array(length).map((_, i) => i * 13 + collective!.rank * 91);
      bytesSent = (await collective!.broadcast(bytes, root, { step, bucket: 0, signal })).bytesSent;
      digest.update(bytes);
      bytes.fill(0);
      break;
    }
    case "abandon": {
      const { length, step, afterMs } = order;
      await sum(collective!, length, step, AbortSignal.timeout(afterMs), () => undefined);
      break;
    }
    case "close":
      await endpoint.close();
      setImmediate(() => process.disconnect());
      break;
  }
  return { kind: "done", digest: digest.digest("hex"), bytesSent };
}

async function sum(
  ring: SessionCollective,
  length: number,
  step: number,
  signal: AbortSignal,
  onResult: (bytes: Uint8Array) => void,
): Promise<number> {
  const buffer = length <= shared.length ? shared.subarray(0, length) : new Float32Array(length);
  for (let i = 0; i < length; i++) buffer[i] = inputAt(ring.rank, step, i);
  const { bytesSent } = await ring.allReduce(buffer, { step, bucket: 0, signal });
  const result = buffer.slice();
  buffer.fill(Number.NaN);
  onResult(new Uint8Array(result.buffer));
  const factor = (ring.worldSize * (ring.worldSize + 1)) / 2;
  for (let i = 0; i < length; i++) {
    const expected = inputAt(0, step, i) * factor;
    if (result[i] !== expected) throw new Error(`element ${i} of step ${step} is ${result[i]}, not ${expected}`);
  }
  return bytesSent;
}
