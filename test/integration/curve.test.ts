// What the ring lets through when it is encrypted: members of the generation, and nothing else that comes to its port.

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { encodeHeader, hashJobId } from "../../proto/frame.ts";
import type { RingEndpoint } from "../../worker/collective/endpoint.ts";
import { createCollectiveEndpoint, createZeroMqTransport } from "../../worker/collective/zeromq.ts";

const host = "127.0.0.1";
const { signal } = new AbortController();

async function createEndpoint(encrypted: boolean): Promise<RingEndpoint> {
  const endpoint = await createCollectiveEndpoint({ host, reach: "tcp", encrypted });
  onTestFinished(() => endpoint.close());
  return endpoint;
}

async function form(endpoints: readonly RingEndpoint[], addresses: readonly string[], generation: number) {
  return Promise.all(
    endpoints.map((endpoint, rank) => endpoint.form({ jobId: "job", generation, rank, endpoints: addresses })),
  );
}

/** Sums a buffer that is full of one text over the ranks; the text is recognisable on its way. */
async function sumText(endpoints: readonly RingEndpoint[], addresses: readonly string[], generation: number) {
  const ring = await form(endpoints, addresses, generation);
  const buffers = ring.map(() => new Float32Array(Buffer.from("SECRET! ".repeat(1000)).buffer.slice(0, 8000)));
  const before = buffers[0]![0]!;
  await Promise.all(ring.map((each, i) => each.allReduce(buffers[i]!, { step: 1, bucket: 0, signal })));
  expect(buffers[0]![0]! / before).toBeCloseTo(endpoints.length, 5);
}

const portOf = (address: string): number => Number(/^tcp:[^;]*:(\d+)/.exec(address)?.[1]);

/** Hello of a rank that says it is of this generation. */
function helloOf(generation: number, source: number, worldSize: number): Buffer {
  const rest = { dtype: "bytes", step: 0, bucket: 0, segment: 0, offset: 0, total: 0, length: 0 } as const;
  return encodeHeader({ kind: "hello", job: hashJobId("job"), generation, source, chunk: worldSize, ...rest });
}

test("a stranger with a key of its own waits at the door unheard, and is heard once it is a member", async () => {
  const [member, other] = [await createEndpoint(true), await createEndpoint(true)];
  const stranger = await createZeroMqTransport({ host, reach: "tcp", encrypted: true });
  onTestFinished(() => stranger.close());
  const heard: string[] = [];
  const answered = new Promise<void>((resolve) => {
    const connection = stranger.connect(member.address, {
      onMessage: () => resolve(void heard.push("credit")),
      onLost: (reason) => heard.push(reason),
    });
    // It knows the port, the public key of its owner, the job and the ranks: everything but a member's secret key.
    connection.send([helloOf(2, 1, 2)]);
    connection.send([Buffer.from("noise")]);
  });
  for (let generation = 0; generation < 2; generation++) {
    await sumText([member, other], [member.address, other.address], generation);
  }
  expect([heard, [...member.dropped]]).toEqual([[], []]);

  // The same connection, at the moment when the coordinator says that its key is a member's.
  await member.form({ jobId: "job", generation: 2, rank: 0, endpoints: [member.address, stranger.address] });
  await answered;
  await expect.poll(() => member.dropped.get("header_length")).toBe(1);
  expect(heard).toEqual(["credit"]);
});

test("a member of an earlier generation is a stranger in the next", async () => {
  const [a, b, c] = [await createEndpoint(true), await createEndpoint(true), await createEndpoint(true)];
  await sumText([a, b, c], [a.address, b.address, c.address], 1);
  const left = await createZeroMqTransport({ host, reach: "tcp", encrypted: true });
  onTestFinished(() => left.close());
  a.form({ jobId: "job", generation: 2, rank: 0, endpoints: [a.address, left.address] }).catch(() => undefined);
  await sumText([a, b], [a.address, b.address], 3);
  const heard: string[] = [];
  const connection = left.connect(a.address, { onMessage: () => heard.push("credit"), onLost: () => undefined });
  connection.send([helloOf(4, 1, 2)]);
  for (let generation = 4; generation < 6; generation++) await sumText([a, b], [a.address, b.address], generation);
  expect([heard, [...a.dropped]]).toEqual([[], []]);
});

test("who does not encrypt is cut off in the greeting, however valid its frames are", async () => {
  const [member, other] = [await createEndpoint(true), await createEndpoint(true)];
  const plain = connect(portOf(member.address), host);
  plain.on("error", () => undefined);
  // ZMTP 3.1 (RFC 37): signature, version, mechanism NULL; then READY, and a message of one frame.
  const greeting = Buffer.alloc(64);
  greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
  greeting.write("NULL", 12);
  plain.write(greeting);
  plain.write(Buffer.concat([Buffer.from([4, 6, 5]), Buffer.from("READY")]));
  const frame = helloOf(1, 1, 2);
  plain.write(Buffer.concat([Buffer.from([0, frame.length]), frame]));
  plain.resume();
  await new Promise((resolve) => plain.once("close", resolve));

  const endpoint = await createEndpoint(false);
  const addresses = [endpoint.address, member.address];
  await expect(form([endpoint], addresses, 1)).rejects.toThrow(/the ring of rank 1 at tcp:\S+ is encrypted/);
  await expect(form([member], addresses, 1)).rejects.toThrow(/rank 0 at tcp:\S+ gives no public key/);
  await sumText([member, other], [member.address, other.address], 2);
  expect([...member.dropped]).toEqual([]);
});

test("who listens on the way sees the sums of a ring that is not encrypted, and nothing of one that is", async () => {
  const seen = async (encrypted: boolean): Promise<string> => {
    const endpoints = [await createEndpoint(encrypted), await createEndpoint(encrypted)];
    const tapped = await Promise.all(endpoints.map(({ address }) => tap(portOf(address))));
    const addresses = endpoints.map(({ address }, i) => address.replace(/:\d+/, `:${tapped[i]!.port}`));
    await sumText(endpoints, addresses, 1);
    return Buffer.concat(tapped.flatMap(({ bytes }) => bytes)).toString("latin1");
  };
  expect(await seen(false)).toContain("SECRET! SECRET! ");
  expect(await seen(true)).not.toContain("SECRET! ");
});

/** Passes everything on to a port, and keeps a copy. */
async function tap(to: number): Promise<{ port: number; bytes: Buffer[] }> {
  const bytes: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(to, host);
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => undefined).on("data", (data: Buffer) => bytes.push(data));
      from.pipe(into);
    }
  }).listen(0, host);
  onTestFinished(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, bytes };
}
