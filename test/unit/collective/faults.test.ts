// What the ring does when things go wrong, on the network in memory: frames that are not due, neighbours that are ahead,
// lost connections, aborts, and generations that change while frames are under way.

import { describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { decodeFrame, encodeHeader, hashJobId, type FrameHeader } from "../../../proto/frame.ts";
import type { CollectiveCall } from "../../../worker/collective/collective.ts";
import type { SessionCollective } from "../../../worker/collective/session.ts";
import { formWorld, type World } from "../../support/collective-world.ts";

const call = (step: number, signal = new AbortController().signal): CollectiveCall => ({ step, bucket: 0, signal });
const ones = (length = 144): Float32Array => new Float32Array(length).fill(1);

const options = { segmentBytes: 64, windowSegments: 4, directBytes: 0 };

async function failureOf(promise: Promise<unknown>): Promise<RingtuneError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RingtuneError);
  expect((error as RingtuneError).code).toBe("collective_failed");
  return error as RingtuneError;
}

/** Changes the data frames that rank `source` sends; returns how many it saw. */
function tamper(
  world: World,
  source: number,
  change: (header: FrameHeader, payload: Uint8Array, nth: number) => Uint8Array[][],
): void {
  let nth = 0;
  world.network.intercept = ({ direction, parts }) => {
    const decoded = decodeFrame(parts);
    if (direction === "back" || !decoded.ok || decoded.header.kind === "hello") return [parts];
    if (decoded.header.source !== source) return [parts];
    return change(decoded.header, decoded.payload, nth++);
  };
}

const frame = (header: FrameHeader, payload: Uint8Array): Uint8Array[] => [encodeHeader(header), payload];

describe("a frame that is not due stops the call and is named", () => {
  const cases: [string, (header: FrameHeader, payload: Uint8Array, nth: number) => Uint8Array[][], RegExp][] = [
    [
      "twice",
      (header, payload, nth) =>
        nth === 1 ? [frame(header, payload), frame(header, payload)] : [frame(header, payload)],
      /expected reduce-scatter step 3 bucket 0 chunk 2 segment 2 .* but reduce-scatter step 3 bucket 0 chunk 2 segment 1 .* came/,
    ],
    [
      "missing",
      (header, payload, nth) => (nth === 1 ? [] : [frame(header, payload)]),
      /expected reduce-scatter step 3 bucket 0 chunk 2 segment 1 .* but reduce-scatter step 3 bucket 0 chunk 2 segment 2 .* came/,
    ],
    [
      "of another size",
      (header, payload) => [frame({ ...header, length: 32 }, payload.subarray(0, 32))],
      /expected .*\(bytes 384 to 447 of 576, float32\) .* but .*\(bytes 384 to 415 of 576, float32\) came/,
    ],
    [
      "of another bucket size",
      (header, payload) => [frame({ ...header, total: 592 }, payload)],
      /expected .* of 576, float32\) .* but .* of 592, float32\) came/,
    ],
    [
      "of a later step",
      (header, payload) => [frame({ ...header, step: 4 }, payload)],
      /expected reduce-scatter step 3 .* but reduce-scatter step 4 /,
    ],
    [
      "of other numbers",
      (header, payload) => [frame({ ...header, dtype: "int64" }, payload)],
      /expected .* of 576, float32\) .* but .* of 576, int64\) came/,
    ],
    [
      "of another kind",
      (header, payload) => [frame({ ...header, kind: "broadcast" }, payload)],
      /expected reduce-scatter .* but broadcast /,
    ],
  ];
  test.each(cases)("%s", async (_, change, sentence) => {
    const world = await formWorld(3, { seed: 1, ...options });
    tamper(world, 0, change);
    const pending = world.collectives.map((collective) => collective.allReduce(ones(), call(3)));
    const others = [pending[0]!, pending[2]!].map(failureOf);
    const error = await failureOf(pending[1]!);
    expect(error.message).toMatch(sentence);
    expect(error.message).toMatch(/^rank 1 of generation 1: .* from rank 0/);
    expect(error.details).toMatchObject({ rank: 1, neighbour: 0, step: 3, bucket: 0, chunk: 2 });
    await world.close();
    await Promise.all(others);
  });
});

test("frames of another generation, job, source or step are dropped and counted, never added", async () => {
  const world = await formWorld(2, { seed: 2, ...options });
  await Promise.all(world.collectives.map((collective) => collective.allReduce(ones(), call(1))));
  tamper(world, 0, (header, payload, nth) => {
    if (nth > 0) return [frame(header, payload)];
    return [
      frame({ ...header, generation: 0 }, payload),
      frame({ ...header, generation: 2 }, payload),
      frame({ ...header, job: hashJobId("another") }, payload),
      frame({ ...header, source: 1 }, payload),
      [encodeHeader(header)],
      [Buffer.from("noise"), payload],
      frame(header, payload),
    ];
  });
  const buffers = [ones(), ones()];
  await Promise.all(world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(2))));
  for (const buffer of buffers) expect(buffer).toEqual(new Float32Array(144).fill(2));
  expect(Object.fromEntries(world.endpoints[1]!.dropped)).toEqual({
    other_generation: 2,
    other_job: 1,
    other_source: 1,
    parts: 1,
    header_length: 1,
  });
  await world.close();
});

test("frames of an earlier step are dropped and counted", async () => {
  const world = await formWorld(2, { seed: 3, ...options });
  const [first, second] = [ones(), ones()];
  const missed = world.collectives[0]!.broadcast(new Uint8Array(100).fill(9), 0, call(4));
  const ahead = world.collectives[0]!.allReduce(first, call(5));
  await Promise.all([missed, ahead, world.collectives[1]!.allReduce(second, call(5))]);
  expect(first).toEqual(new Float32Array(144).fill(2));
  expect(second).toEqual(first);
  expect(world.endpoints[1]!.dropped.get("other_step")).toBe(2);
  await world.close();
});

test("a stranger's frames have no credit", async () => {
  const world = await formWorld(2, { seed: 4, ...options });
  const header: FrameHeader = {
    ...{ kind: "reduce-scatter", dtype: "float32", job: hashJobId("job"), generation: 1, source: 0 },
    ...{ step: 1, bucket: 0, chunk: 0, segment: 0, offset: 0, total: 576, length: 64 },
  };
  world.network.inject(world.endpoints[1]!.address, frame(header, new Uint8Array(64).fill(7)));
  await world.network.settled();
  const buffers = [ones(), ones()];
  await Promise.all(world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
  expect(buffers[1]).toEqual(new Float32Array(144).fill(2));
  expect(world.endpoints[1]!.dropped.get("no_credit")).toBe(1);
  await world.close();
});

test("a rank that is ahead is held back by the window and then served", async () => {
  const world = await formWorld(2, { seed: 5, ...options });
  let frames = 0;
  tamper(world, 0, (header, payload) => {
    frames++;
    return [frame(header, payload)];
  });
  const early = ones(4096);
  const first = world.collectives[0]!.allReduce(early, call(1));
  await world.network.settled();
  expect(frames).toBe(options.windowSegments);
  expect(world.collectives[0]!.waitingFor).toMatch(
    /^waiting for rank 1 to send reduce-scatter step 1 bucket 0 chunk 0 segment 0 .*; 0 of 256 frames received, 4 of 256 sent$/,
  );
  const late = ones(4096);
  await Promise.all([first, world.collectives[1]!.allReduce(late, call(1))]);
  expect(early).toEqual(new Float32Array(4096).fill(2));
  expect(late).toEqual(early);
  expect(world.collectives[0]!.waitingFor).toBeUndefined();
  await world.close();
});

test("an all-reduce does not wait to hear that its last frames have come, and what is written then does not reach them", async () => {
  const world = await formWorld(2, { seed: 8, kind: "in process, hosts", ...options });
  await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
  await world.network.settled();
  const [first, second] = world.collectives as [SessionCollective, SessionCollective];
  const toSecond = world.endpoints[1]!.address;
  const [early, late] = [ones(64), ones(64)];
  const held: (readonly Uint8Array[])[] = [];
  world.network.intercept = ({ address, direction, parts }) => {
    const decoded = decodeFrame(parts);
    if (address !== toSecond || direction === "back") return [parts];
    if (!decoded.ok || decoded.header.kind !== "all-gather") return [parts];
    held.push(parts);
    return [];
  };
  const summed = second.allReduce(late, call(2));
  await first.allReduce(early, call(2));
  expect(early).toEqual(new Float32Array(64).fill(2));
  early.fill(Number.NaN);
  await world.network.settled();
  expect(held).toHaveLength(2);
  world.network.intercept = ({ address, direction, parts }) =>
    address === toSecond && direction === "forward" ? [...held.splice(0), parts] : [parts];
  await Promise.all([summed, first.allReduce(ones(64), call(3)), second.allReduce(ones(64), call(3))]);
  expect(late).toEqual(new Float32Array(64).fill(2));
  await world.close();
});

test("a neighbour that sends past its credit is named", async () => {
  const world = await formWorld(2, { seed: 6, ...options });
  tamper(world, 0, (header, payload) => Array.from({ length: 5 }, () => frame(header, payload)));
  const ahead = failureOf(world.collectives[0]!.allReduce(ones(4096), call(1)));
  await world.network.settled();
  const error = await failureOf(world.collectives[1]!.allReduce(ones(4096), call(1)));
  expect(error.message).toMatch(/rank 0 sent more than the 4 frames that it had credit for/);
  await world.close();
  await ahead;
});

test("an abort rejects at once with the reason, and the collective stays unusable", async () => {
  const world = await formWorld(3, { seed: 7, ...options });
  const reason = new Error("the user changed their mind");
  const controller = new AbortController();
  const aborted = world.collectives[0]!.allReduce(ones(1000), call(1, controller.signal));
  const queued = failureOf(world.collectives[0]!.allReduce(ones(1000), call(2)));
  const other = failureOf(world.collectives[1]!.allReduce(ones(1000), call(1)));
  await world.network.settled();
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  expect((await queued).message).toMatch(/aborted.*form a new generation.*reduce-scatter step 1/);
  await failureOf(world.collectives[0]!.allReduce(ones(), call(3)));
  await world.close();
  await other;
});

test("a call that is aborted before it starts does no harm", async () => {
  const world = await formWorld(2, { seed: 8, ...options });
  await expect(world.collectives[0]!.allReduce(ones(), call(1, AbortSignal.abort("early")))).rejects.toBe("early");
  const controller = new AbortController();
  const buffer = ones(1000);
  const running = world.collectives[0]!.allReduce(buffer, call(1));
  const waiting = world.collectives[0]!.allReduce(ones(), call(2, controller.signal));
  controller.abort("in the queue");
  await expect(waiting).rejects.toBe("in the queue");
  await Promise.all([running, world.collectives[1]!.allReduce(ones(1000), call(1))]);
  expect(buffer).toEqual(new Float32Array(1000).fill(2));
  await world.close();
});

test("close rejects what is pending, twice is fine, and a lost connection names the neighbour", async () => {
  const world = await formWorld(3, { seed: 9, ...options });
  tamper(world, 2, () => []);
  const pending = world.collectives.map((collective) => failureOf(collective.allReduce(ones(5000), call(6))));
  await world.network.settled();
  await world.collectives[0]!.close();
  await world.collectives[0]!.close();
  expect((await pending[0]!).message).toMatch(/^rank 0 of generation 1: the collective was closed; it was waiting for/);
  world.network.cut(world.endpoints[2]!.address);
  const lost = await pending[1]!;
  expect(lost.message).toMatch(
    /lost the connection to rank 2 \(mem:\/\/2: cut by the test\); it was waiting for .*step 6/,
  );
  expect(lost.details).toMatchObject({ rank: 1, generation: 1, step: 6, bucket: 0 });
  await world.close();
  await pending[2]!;
});

test("a generation changes mid-ring, and stale frames never reach the next sum", async () => {
  for (let seed = 0; seed < 40; seed++) {
    const world = await formWorld(4, { seed, ...options });
    const controller = new AbortController();
    const poisoned = world.collectives.map((collective) =>
      collective.allReduce(new Float32Array(2000).fill(1e9), call(1, controller.signal)).catch(() => "cut short"),
    );
    let delivered = 0;
    const { intercept } = world.network;
    await new Promise<void>((resolve) => {
      world.network.intercept = (passing) => {
        if (++delivered === 20 + seed * 3) resolve();
        return intercept(passing);
      };
    });
    controller.abort("rank 3 died");
    const next = await world.form(2, 3);
    const buffers = next.map((_, rank) => Float32Array.from({ length: 500 }, (__, i) => i * (rank + 1)));
    await Promise.all(next.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
    const expected = Float32Array.from({ length: 500 }, (_, i) => i * 6);
    for (const buffer of buffers) expect(buffer).toEqual(expected);
    expect(await Promise.all(poisoned)).toEqual(Array.from({ length: 4 }, () => "cut short"));
    await world.close();
  }
});

test("a neighbour may form the next generation before this rank does", async () => {
  const world = await formWorld(2, { seed: 11, ...options });
  const addresses = world.endpoints.map((endpoint) => endpoint.address);
  const membership = (rank: number) => ({ jobId: "job", generation: 2, rank, endpoints: addresses });
  const early = await world.endpoints[0]!.form(membership(0));
  const buffer = ones();
  const pending = early.allReduce(buffer, call(1));
  await world.network.settled();
  expect(early.waitingFor).toMatch(/waiting for rank 1 \(mem:\/\/1\) to join the generation/);
  const late = await world.endpoints[1]!.form(membership(1));
  await Promise.all([pending, late.allReduce(ones(), call(1))]);
  expect(buffer).toEqual(new Float32Array(144).fill(2));
  const superseded = await failureOf(world.collectives[1]!.allReduce(ones(), call(1)));
  expect(superseded.message).toMatch(/generation 2 of job job took its place/);
  await world.close();
});

test("a neighbour with another idea of the world size is named", async () => {
  const world = await formWorld(3, { seed: 12, ...options });
  const addresses = world.endpoints.map((endpoint) => endpoint.address);
  const three = await world.endpoints[0]!.form({ jobId: "job", generation: 2, rank: 0, endpoints: addresses });
  const two = await world.endpoints[1]!.form({
    jobId: "job",
    generation: 2,
    rank: 1,
    endpoints: addresses.slice(0, 2),
  });
  const failures = [three, two].map((collective) => failureOf(collective.allReduce(ones(), call(1))));
  // Whoever hears of it first breaks off.
  const error = await Promise.race(failures);
  expect(error.message).toMatch(/rank \d says that generation 2 has (3|2) ranks, but here it has (3|2)/);
  await world.close();
});

test("a rank outside the world is refused", async () => {
  const world = await formWorld(1, { seed: 13 });
  await failureOf(world.endpoints[0]!.form({ jobId: "job", generation: 2, rank: 1, endpoints: ["mem://0"] }));
  await world.close();
});
