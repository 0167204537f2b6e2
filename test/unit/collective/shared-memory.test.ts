// What is particular to shared memory: when it is used and what is said when it is not, calls that do not match, and memory
// that ranks of an earlier generation still hold.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { describeAddress, parseAddress, pathBetween } from "../../../worker/collective/address.ts";
import { createRingEndpoint, type RingEndpoint } from "../../../worker/collective/endpoint.ts";
import { hostIdentity } from "../../../worker/collective/host-identity.ts";
import { createSharedMemory, type SharedMemory } from "../../../worker/collective/shared-memory/shared-memory.ts";
import { createMemoryNetwork } from "../../support/collective-memory.ts";

const { signal } = new AbortController();
const call = (step: number) => ({ step, bucket: 0, signal });
const open: RingEndpoint[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((endpoint) => endpoint.close()));
});

function memory(): SharedMemory {
  return createSharedMemory({ blockMs: 0 })!;
}

function createEndpoints(memories: readonly SharedMemory[]): RingEndpoint[] {
  const network = createMemoryNetwork(1);
  const endpoints = memories.map((each) => createRingEndpoint(network.createTransport({ memory: true }), {}, each));
  open.push(...endpoints);
  return endpoints;
}

function form(endpoints: readonly RingEndpoint[], generation = 1) {
  const addresses = endpoints.map(({ address }) => address);
  return Promise.all(
    endpoints.map((endpoint, rank) => endpoint.form({ jobId: "job", generation, rank, endpoints: addresses })),
  );
}

async function expectSums(endpoints: readonly RingEndpoint[], buffers: readonly Float32Array[], path: RegExp) {
  const collectives = await form(endpoints);
  buffers.forEach((buffer, rank) => buffer.fill(rank + 1));
  await Promise.all(collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
  const sum = (buffers.length * (buffers.length + 1)) / 2;
  for (const buffer of buffers) expect(buffer.every((value) => value === sum)).toBe(true);
  for (const collective of collectives) expect(collective.path).toMatch(path);
}

test("a rank that has no memory left to share is named, and all sum over the ring", async () => {
  const poor: SharedMemory = {
    ...memory(),
    open() {
      throw new RingtuneError("collective_failed", "cannot reserve 4096 bytes of memory (ENOSPC)");
    },
  };
  const endpoints = createEndpoints([memory(), poor, memory()]);
  const buffers = endpoints.map((endpoint) => endpoint.allocate(5000));
  await expectSums(
    endpoints,
    buffers,
    /^ring of 3 ranks, without shared memory: rank 1: cannot reserve 4096 bytes of memory \(ENOSPC\)$/,
  );
});

test("a rank whose file is another's is found out, and all sum over the ring", async () => {
  const liar = memory();
  const endpoints = createEndpoints([{ ...liar, open: () => ({ ...liar.open(), nonce: "00" }) }, memory()]);
  const buffers = endpoints.map((endpoint) => endpoint.allocate(5000));
  await expectSums(
    endpoints,
    buffers,
    /without shared memory: rank \d: the memory of rank 0 can't be mapped: another file/,
  );
});

test("ranks that allocated different lengths sum over the ring, and both numbers are said", async () => {
  const endpoints = createEndpoints([memory(), memory()]);
  const buffers = [endpoints[0]!.allocate(2000).subarray(0, 1000), endpoints[1]!.allocate(1000)];
  await expectSums(
    endpoints,
    buffers,
    /rank 0: the memory of rank 1 can't be mapped: it is \d+ bytes, this rank's is \d+$/,
  );
});

test("no more memory is reserved than there is, and both numbers are said", () => {
  const each = createSharedMemory({ availableBytes: () => 5_000_000 })!;
  each.allocate(1_000_000);
  expect(() => each.open()).toThrow(/^cannot reserve 5054464 bytes of memory to share, of 5000000 available$/);
  each.close();
});

test("calls that do not match are found out by whoever comes last, with what was expected and what came", async () => {
  const endpoints = createEndpoints([memory(), memory()]);
  const [a, b] = await form(endpoints);
  const calls = [a!.allReduce(new Float32Array(100), call(3)), b!.broadcast(new Uint8Array(99), 1, call(3))];
  void Promise.allSettled(calls); // the other one is rejected when its endpoint closes
  const [sum, copy] = [
    "all-reduce step 3 bucket 0 \\(400 bytes, float32\\)",
    "broadcast from rank 1 step 3 bucket 0 \\(99 bytes\\)",
  ];
  await expect(Promise.race(calls)).rejects.toThrow(
    new RegExp(`expected (${sum} from rank 1, but ${copy}|${copy} from rank 0, but ${sum}) came$`),
  );
});

test("what a rank of an earlier generation still writes reaches nobody", () => {
  const [a, b] = [memory(), memory()];
  const [buffer, other] = [a.allocate(1000), b.allocate(1000)];
  const files = [a.open(), b.open()];
  const [, stale] = [a.join(files, 0), b.join(files, 1)];
  const { region } = stale.find(new Uint8Array(other.buffer))!;
  const address = stale.address(region, 0, 0, 4000);
  region.bytes.fill(0x3f, address, address + 4000);
  expect(buffer[0]).toBeGreaterThan(0); // it does reach the memory while the generation lasts
  a.renew();
  expect(buffer.every((value) => value === 0)).toBe(true);
  region.bytes.fill(0x40, address, address + 4000);
  expect(buffer.every((value) => value === 0)).toBe(true);
  a.close();
  b.close();
});

test("memory of earlier generations is given back", async () => {
  const endpoints = createEndpoints([memory(), memory()]);
  const buffers = endpoints.map((endpoint) => endpoint.allocate(100_000));
  const mapped = (): number => readFileSync("/proc/self/maps", "utf8").split("memfd:ringtune").length - 1;
  const counts: number[] = [];
  for (let generation = 1; generation <= 4; generation++) {
    const collectives = await form(endpoints, generation);
    await Promise.all(collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
    counts.push(mapped());
  }
  expect(counts[3]).toBe(counts[1]);
});

/** Two ranks with an endpoint each for two threads, the second of which is to adopt what the first shares. */
async function lend(second = [memory(), memory()]) {
  const [first, others] = [createEndpoints([memory(), memory()]), createEndpoints(second)];
  const buffers = first.map((endpoint) => endpoint.allocate(5000));
  const collectives = await form(first);
  await Promise.all(collectives.map((collective) => collective.topology(signal)));
  for (const [rank, endpoint] of others.entries()) endpoint.adopt(collectives[rank]!.lend(buffers[rank]!));
  return { first, others, buffers, collectives };
}

test("what another thread shares is summed where it is", async () => {
  const { others, buffers } = await lend();
  const adopting = await form(others);
  await Promise.all(adopting.map((collective) => collective.topology(signal)));
  buffers.forEach((buffer, rank) => buffer.fill(rank + 1));
  await Promise.all(adopting.map((each) => each.allReduce(each.adopted!.subarray(100, 4000), call(1))));
  for (const [rank, buffer] of buffers.entries()) {
    expect(buffer.every((value, i) => value === (i >= 100 && i < 4000 ? 3 : rank + 1))).toBe(true);
  }
});

test("where another thread's memory can't be mapped nothing is adopted, and the reason is said", async () => {
  const real = memory();
  const wrong: SharedMemory = {
    ...real,
    adopt: (buffer) =>
      real.adopt(buffer && { ...buffer, files: buffer.files.map((file) => ({ ...file, nonce: "00" })) }),
  };
  const { others } = await lend([memory(), wrong]);
  const [a, b] = await form(others);
  const buffers = [new Float32Array(100).fill(1), new Float32Array(100).fill(2)];
  await Promise.all([a!.allReduce(buffers[0]!, call(1)), b!.allReduce(buffers[1]!, call(1))]);
  expect(a!.path).toBe(
    "ring of 2 ranks, without shared memory: rank 1: the memory of rank 0 can't be mapped: another file is there",
  );
  expect([a!.adopted, b!.adopted]).toEqual([undefined, undefined]);
  for (const buffer of buffers) expect(buffer.every((value) => value === 3)).toBe(true);
});

test("what another thread shared is given back when it is adopted no more, and its next generation is adopted alike", async () => {
  const { first, others, buffers } = await lend();
  const mapped = (): number => readFileSync("/proc/self/maps", "utf8").split("memfd:ringtune").length - 1;
  const opened = (): number => readdirSync("/proc/self/fd").length;
  const before = [mapped(), opened()];
  for (let generation = 2; generation <= 3; generation++) {
    const collectives = await form(first, generation);
    await Promise.all(collectives.map((collective) => collective.topology(signal)));
    for (const [rank, endpoint] of others.entries()) endpoint.adopt(collectives[rank]!.lend(buffers[rank]!));
    const adopting = await form(others, generation);
    await Promise.all(adopting.map((collective) => collective.topology(signal)));
    buffers.forEach((buffer, rank) => buffer.fill(rank + 1));
    await Promise.all(adopting.map((each) => each.allReduce(each.adopted!, call(1))));
    for (const buffer of buffers) expect(buffer.every((value) => value === 3)).toBe(true);
  }
  for (const endpoint of others) {
    endpoint.adopt(undefined);
    await endpoint.close();
  }
  expect([mapped(), opened()]).toEqual(before);
});

test("what one generation has adopted the next one has not, unless it is adopted again", async () => {
  const { others } = await lend();
  for (const adopts of [true, false]) {
    const collectives = await form(others, adopts ? 1 : 2);
    await Promise.all(collectives.map((collective) => collective.topology(signal)));
    expect(collectives.map(({ adopted }) => adopted !== undefined)).toEqual([adopts, adopts]);
  }
});

test("only memory that is shared from its first number is lent", async () => {
  const { collectives, buffers } = await lend();
  expect(collectives[0]!.lend(new Float32Array(10))).toBeUndefined();
  expect(collectives[0]!.lend(buffers[0]!.subarray(16))).toBeUndefined();
});

test("ranks meet by the fastest way that both addresses tell of", () => {
  const near = { tcp: "tcp://10.0.0.5:7000", ipc: "ipc://@ringtune-a", host: "h1", memory: true };
  const beside = { tcp: "tcp://10.0.0.5:7001", ipc: "ipc://@ringtune-b", host: "h1", memory: false };
  const far = { tcp: "tcp://10.0.0.6:7000", ipc: "ipc://@ringtune-c", host: "h2", memory: true };
  for (const address of [near, beside, far]) expect(parseAddress(describeAddress(address))).toEqual(address);
  expect(parseAddress("tcp://10.0.0.7:1")).toEqual({ tcp: "tcp://10.0.0.7:1", host: "", memory: false });
  expect(pathBetween(near, beside)).toBe("ipc://@ringtune-b");
  expect(pathBetween(near, far)).toBe("tcp://10.0.0.6:7000");
  expect(pathBetween(near, parseAddress("tcp://10.0.0.7:1"))).toBe("tcp://10.0.0.7:1");
});

test.runIf(existsSync("/proc/self/ns/net"))("the host's identity is the same for every process of it", () => {
  expect(hostIdentity()).toMatch(/^[0-9a-f]{16}$/);
  expect(hostIdentity()).toBe(hostIdentity());
});
