// The ZeroMQ endpoint inside one process: binding, refusing, and what strangers may send to its port.

import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { encodeHeader, hashJobId, maxPayloadBytes } from "../../proto/frame.ts";
import type { RingEndpoint } from "../../worker/collective/endpoint.ts";
import { createCollectiveEndpoint, createZeroMqTransport } from "../../worker/collective/zeromq.ts";

const host = "127.0.0.1";
const { signal } = new AbortController();

async function sumOnce(endpoints: readonly RingEndpoint[], generation: number): Promise<Float32Array[]> {
  const addresses = endpoints.map((endpoint) => endpoint.address);
  const ring = await Promise.all(
    endpoints.map((endpoint, rank) => endpoint.form({ jobId: "job", generation, rank, endpoints: addresses })),
  );
  const buffers = ring.map(({ rank }) => new Float32Array(1000).fill(rank + 1));
  await Promise.all(ring.map((collective, i) => collective.allReduce(buffers[i]!, { step: 1, bucket: 0, signal })));
  return buffers;
}

test("port 0 takes a free port and says which; the advertised host may differ", async () => {
  const endpoint = await createCollectiveEndpoint({ host, advertisedHost: "localhost" });
  expect(endpoint.address).toMatch(/^tcp:\/\/localhost:[1-9]\d+;ipc=@ringtune-[0-9a-f]{16};host=[0-9a-f]{16};memory$/);
  await endpoint.close();
  await endpoint.close();
});

test("a busy port is named", async () => {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await expect(createCollectiveEndpoint({ host, port })).rejects.toMatchObject({
    code: "address_in_use",
    message: expect.stringContaining(`127.0.0.1:${port}`) as string,
  });
  server.close();
});

test("a host that is not this machine is named", async () => {
  await expect(createCollectiveEndpoint({ host: "192.0.2.1" })).rejects.toMatchObject({
    code: "collective_failed",
    message: expect.stringContaining("192.0.2.1:0") as string,
  });
});

test("an address that makes no sense fails the forming, and the next one works", async () => {
  const endpoint = await createCollectiveEndpoint({ host });
  const bad = { jobId: "job", generation: 1, rank: 0, endpoints: [endpoint.address, "nonsense"] };
  await expect(endpoint.form(bad)).rejects.toMatchObject({ code: "collective_failed" });
  const other = await createCollectiveEndpoint({ host });
  const buffers = await sumOnce([endpoint, other], 2);
  expect(buffers[0]).toEqual(new Float32Array(1000).fill(3));
  await Promise.all([endpoint.close(), other.close()]);
});

test("the next generation works on the same endpoints while the last one was never closed", async () => {
  const endpoints = await Promise.all([1, 2, 3].map(() => createCollectiveEndpoint({ host })));
  for (let generation = 1; generation <= 5; generation++) {
    for (const buffer of await sumOnce(endpoints, generation)) expect(buffer).toEqual(new Float32Array(1000).fill(6));
  }
  await Promise.all(endpoints.map((endpoint) => endpoint.close()));
});

test("noise, foreign frames and oversized messages do not disturb a ring", async () => {
  const endpoints = await Promise.all([1, 2].map(() => createCollectiveEndpoint({ host })));
  const target = endpoints[0]!;
  // ZeroMQ takes this for its version 1.0, in which 0x5a starts a message of 90 bytes.
  const noise = connect(Number(/^tcp:.*:(\d+);/.exec(target.address)?.[1]), host);
  noise.on("error", () => undefined);
  noise.end(Buffer.alloc(4096, 0x5a));

  const stranger = await createZeroMqTransport({ host });
  let loseIt: (why: string) => void = () => undefined;
  const lost = new Promise<string>((resolve) => (loseIt = resolve));
  const connection = stranger.connect(target.address, { onMessage: () => undefined, onLost: loseIt });
  const header = { kind: "all-gather", job: hashJobId("another"), generation: 1, source: 1, step: 1 } as const;
  const rest = { dtype: "float32", bucket: 0, chunk: 0, segment: 0, offset: 0, total: 8, length: 8 } as const;
  connection.send([Buffer.from("hello?")]);
  connection.send([encodeHeader({ ...header, ...rest }), new Uint8Array(8)]);
  await expect.poll(() => target.dropped.get("no_credit")).toBe(1);
  expect(target.dropped.get("header_length")).toBeGreaterThanOrEqual(1);
  // ZeroMQ ends the connection, and what was not yet read of it is gone.
  connection.send([encodeHeader({ ...header, ...rest }), new Uint8Array(maxPayloadBytes + 1)]);
  expect(await lost).toBe("disconnected");

  for (const buffer of await sumOnce(endpoints, 1)) expect(buffer).toEqual(new Float32Array(1000).fill(3));
  await Promise.all([stranger.close(), ...endpoints.map((endpoint) => endpoint.close())]);
});

test("a shared buffer can be summed in place", async () => {
  const endpoints = await Promise.all([1, 2].map(() => createCollectiveEndpoint({ host })));
  const addresses = endpoints.map((endpoint) => endpoint.address);
  const ring = await Promise.all(
    endpoints.map((endpoint, rank) => endpoint.form({ jobId: "job", generation: 1, rank, endpoints: addresses })),
  );
  const buffers = ring.map(() => new Float32Array(new SharedArrayBuffer(4 * 1000), 40, 900).fill(2));
  await Promise.all(ring.map((collective, i) => collective.allReduce(buffers[i]!, { step: 1, bucket: 0, signal })));
  for (const buffer of buffers) expect([...new Set(buffer)]).toEqual([4]);
  await Promise.all(endpoints.map((endpoint) => endpoint.close()));
});
