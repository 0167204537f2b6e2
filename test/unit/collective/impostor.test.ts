// A rank of the generation that sends what it must not, over every transport that carries frames: it is dropped and counted, or it
// stops the call and is named; never a wrong sum. Messages that are too long for a frame are cut off by ZeroMQ
// (collective-zeromq.test.ts).

import { afterEach, describe, expect, test } from "vitest";
import { encodeHeader, hashJobId, type FrameHeader } from "../../../proto/frame.ts";
import { createRingEndpoint, type RingEndpoint } from "../../../worker/collective/endpoint.ts";
import type { SessionCollective } from "../../../worker/collective/session.ts";
import type { Connection, Transport } from "../../../worker/collective/transport.ts";
import { createZeroMqTransport } from "../../../worker/collective/zeromq.ts";
import { createMemoryNetwork } from "../../support/collective-memory.ts";

const kinds = ["in process", "tcp", "tcp, encrypted", "ipc"] as const;
const { signal } = new AbortController();
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

/** Rank 0 is real; rank 1 says hello and then whatever the test says. */
async function meet(kind: (typeof kinds)[number], worldSize = 2) {
  const network = createMemoryNetwork(1);
  const createTransport = async (): Promise<Transport> => {
    if (kind === "in process") return network.createTransport();
    const reach = kind === "ipc" ? "ipc" : "tcp";
    return createZeroMqTransport({ host: "127.0.0.1", reach, encrypted: kind.endsWith("encrypted") });
  };
  const endpoint: RingEndpoint = createRingEndpoint(await createTransport(), { directBytes: 0 });
  const impostor = await createTransport();
  open.push(endpoint, impostor);
  const endpoints = [endpoint.address, impostor.address];
  impostor.admit(endpoints);
  impostor.listen(() => undefined);
  const collective = await endpoint.form({ jobId: "job", generation: 1, rank: 0, endpoints });
  let connection: Connection | undefined;
  const joined = new Promise<void>((resolve) => {
    connection = impostor.connect(endpoint.address, { onMessage: () => resolve(), onLost: () => undefined });
  });
  connection!.send([encodeHeader({ ...frame, ...control, kind: "hello", chunk: worldSize })]);
  return { endpoint, collective, joined, send: (parts: Uint8Array[]) => connection!.send(parts) };
}

/** What rank 0 waits for first, in the sum of 32 floats: rank 1's part of chunk 0. */
const frame: FrameHeader = {
  ...{ kind: "reduce-scatter", dtype: "float32", job: hashJobId("job"), generation: 1, source: 1 },
  ...{ step: 3, bucket: 0, chunk: 0, segment: 0, offset: 0, total: 128, length: 64 },
};
const control = { dtype: "bytes", step: 0, offset: 0, total: 0, length: 0 } as const;
const payload = new Uint8Array(64);

const sum = (collective: SessionCollective): Promise<string> =>
  collective.allReduce(new Float32Array(32), { step: 3, bucket: 0, signal }).then(() => "summed", String);

describe.each(kinds)("%s", (kind) => {
  const dropped: [string, string, Uint8Array[]][] = [
    ["a header that is cut short", "header_length", [encodeHeader(frame).subarray(0, 63), payload]],
    ["a payload that is cut short", "payload", [encodeHeader(frame), payload.subarray(0, 60)]],
    ["a payload that is too long", "payload", [encodeHeader(frame), new Uint8Array(68)]],
    ["a payload beyond the bucket", "range", [encodeHeader({ ...frame, offset: 96 }), payload]],
    ["a frame of another job", "other_job", [encodeHeader({ ...frame, job: hashJobId("another") }), payload]],
    ["a frame of another generation", "other_generation", [encodeHeader({ ...frame, generation: 2 }), payload]],
    ["a frame of a rank that there is not", "other_source", [encodeHeader({ ...frame, source: 2 }), payload]],
  ];

  test("what is no frame of the generation is dropped and counted", async () => {
    const { endpoint, collective, joined, send } = await meet(kind);
    await joined;
    const outcome = sum(collective);
    for (const [, , parts] of dropped) send(parts);
    // The one after them, which is not due, tells that all were read.
    send([encodeHeader({ ...frame, segment: 1 }), payload]);
    expect(await outcome).toMatch(/expected .* segment 0 .* but .* segment 1 /);
    const counts: Record<string, number> = {};
    for (const [, reason] of dropped) counts[reason] = (counts[reason] ?? 0) + 1;
    expect(Object.fromEntries(endpoint.dropped)).toEqual(counts);
  });

  test.each([
    ["other numbers", { dtype: "int64" }, /expected .*float32\) from rank 1, but .*int64\) came/],
    ["a bucket of another length", { total: 192 }, /expected .* of 128, float32\) .* but .* of 192, float32\) came/],
    ["another chunk", { chunk: 1 }, /expected reduce-scatter .* chunk 0 .* but reduce-scatter .* chunk 1 /],
    ["a later step", { step: 4 }, /expected .* step 3 .* but .* step 4 /],
  ] as [string, Partial<FrameHeader>, RegExp][])(
    "a frame of %s stops the call and is named",
    async (_, change, said) => {
      const { collective, joined, send } = await meet(kind);
      await joined;
      const outcome = sum(collective);
      send([encodeHeader({ ...frame, ...change }), payload]);
      expect(await outcome).toMatch(said);
    },
  );

  test("another world size stops the call, and both are named", async () => {
    const { collective } = await meet(kind, 3);
    expect(await sum(collective)).toMatch(/rank 1 says that generation 1 has 3 ranks, but here it has 2/);
  });
});
