// That the phases in memory of hosts with several ranks go on while the wire is busy: what leaves first leaves before the host
// has summed the rest, and what has come is everywhere on its host before the rest has come.

import { afterEach, expect, test } from "vitest";
import { decodeFrame, type FrameHeader } from "../../../proto/frame.ts";
import type { CollectiveCall } from "../../../worker/collective/collective.ts";
import { routeOf, type Kind, type Routed } from "../../../worker/collective/route.ts";
import type { Topology } from "../../../worker/collective/topology.ts";
import { formWorld, type World } from "../../support/collective-world.ts";

const call = (step: number, signal = new AbortController().signal): CollectiveCall => ({ step, bucket: 0, signal });
const segmentBytes = 4096;
const length = 16_384; // 64 KiB, 16 segments

const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** Ranks 0 and 2 on one host, 1 and 3 on the other; rank r has r + 1 everywhere, so the first host has 4 and all have 10. */
async function formHosts(windowSegments = 4): Promise<{ world: World; buffers: Float32Array[] }> {
  let buffers: Float32Array[] = [];
  const world = await formWorld(4, {
    ...{ seed: 11, kind: "in process, hosts", segmentBytes, windowSegments, directBytes: 0 },
    prepare: (endpoints) => (buffers = endpoints.map((endpoint) => endpoint.allocate(length))),
  });
  worlds.push(world);
  await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
  buffers.forEach((buffer, rank) => buffer.fill(rank + 1));
  return { world, buffers };
}

/** Hears of each data frame before it is delivered; those that it says no to are held back for good. */
function onData(world: World, pass: (header: FrameHeader) => boolean): void {
  world.network.intercept = ({ direction, parts }) => {
    const decoded = decodeFrame(parts);
    if (direction === "back" || !decoded.ok || decoded.payload.byteLength === 0) return [parts];
    return pass(decoded.header) ? [parts] : [];
  };
}

test("the first segment leaves when it is summed, not when the whole buffer is", async () => {
  const { world, buffers } = await formHosts(1);
  const first = new Promise<{ offset: number; raw: number }>((resolve) => {
    onData(world, ({ source, offset }) => {
      if (source === 0) resolve({ offset, raw: buffers[0]!.filter((value) => value === 1).length });
      return true;
    });
  });
  const sums = world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(2)));
  const { offset, raw } = await first;
  expect(buffers[0]![offset / 4]).toBe(4);
  expect(raw).toBeGreaterThan(length / 2);
  await Promise.all(sums);
  for (const buffer of buffers) expect(new Set(buffer)).toEqual(new Set([10]));
});

test("a segment that has come is on all ranks of the host before the next one comes; who is lost meanwhile is named", async () => {
  const { world, buffers } = await formHosts();
  const last = length * 4 - segmentBytes;
  onData(world, ({ kind, offset }) => kind !== "all-gather" || offset < last);
  const sums = world.collectives.map((collective, rank) =>
    collective.allReduce(buffers[rank]!, call(2)).then(
      () => "summed",
      (error: unknown) => String(error),
    ),
  );
  await world.network.settled();
  // The last chunk is rank 3's: the first host waits for its last segment, and has everything else.
  for (const rank of [0, 2]) {
    const here = buffers[rank]!.subarray(0, last / 4);
    expect(here.filter((value) => value === 10)).toHaveLength(here.length);
  }
  // The second host has all that it needs, and does not wait to hear what the first one has.
  expect(await Promise.all([sums[1], sums[3]])).toEqual(["summed", "summed"]);
  await world.lose(3);
  expect(await sums[2]).toMatch(/lost the connection to rank 3 .* waiting for rank 3 to send all-gather /);
  await world.collectives[0]!.close();
  expect(await sums[0]).toMatch(/waiting for rank 2 .* to begin all-reduce /);
});

test("an abort in the middle ends the call of a rank at once, and the next generation sums right", async () => {
  const { world, buffers } = await formHosts();
  const aborting = new AbortController();
  let seen = 0;
  onData(world, () => ++seen < 12);
  const sums = world.collectives.map((collective, rank) =>
    collective.allReduce(buffers[rank]!, call(2, aborting.signal)).catch((error: unknown) => error),
  );
  await world.network.settled();
  expect(seen).toBeGreaterThanOrEqual(12);
  aborting.abort("told by the coordinator");
  expect(await Promise.all(sums)).toEqual(Array(4).fill("told by the coordinator"));
  world.network.intercept = ({ parts }) => [parts];
  const next = await world.form(2);
  buffers.forEach((buffer, rank) => buffer.fill(rank + 1));
  await Promise.all(next.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
  for (const buffer of buffers) expect(new Set(buffer)).toEqual(new Set([10]));
});

test("the sums are those of one phase after another, to the last bit", async () => {
  const values = (rank: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * (rank + 1)));
  const { world, buffers } = await formHosts();
  const elsewhere = buffers.map((_, rank) => values(rank)); // in no memory that could be shared
  buffers.forEach((buffer, rank) => buffer.set(values(rank)));
  await Promise.all(world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(2))));
  await Promise.all(world.collectives.map((collective, rank) => collective.allReduce(elsewhere[rank]!, call(3))));
  for (const rank of buffers.keys()) expect(Buffer.compare(bytesOf(buffers[rank]!), bytesOf(elsewhere[rank]!))).toBe(0);
});

test("one rank that carries everything for five sums right, though it can't have all of their buffers in sight at once", async () => {
  let buffers: Float32Array[] = [];
  const floats = 600_000; // 2.4 MB: the window has 3.4 MB, the others' buffers 9.6
  const world = await formWorld(6, {
    ...{ seed: 12, kind: "in process, hosts", hosts: [0, 0, 0, 0, 0, 1], segmentBytes: 65_536, directBytes: 0 },
    prepare: (endpoints) => (buffers = endpoints.map((endpoint) => endpoint.allocate(floats))),
  });
  worlds.push(world);
  for (const step of [1, 2]) {
    buffers.forEach((buffer, rank) => buffer.forEach((_, i) => (buffer[i] = (i % 1000) * step + rank)));
    await Promise.all(world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(step))));
    for (const buffer of buffers) expect(buffer.every((sum, i) => sum === 6 * (i % 1000) * step + 15)).toBe(true);
  }
  expect(world.collectives[0]!.path).toBe("shared memory of 5 + 1 ranks, joined by 1 ring");
});

test("what the carriers do in memory is what the host would do before and after, each range by one of them", () => {
  const topologies: Topology[] = [[[0, 1], [2, 3]], [[0, 2, 4], [1, 3], [5]], [[0, 1, 2], [3, 4, 5, 6]]]; // prettier-ignore
  for (const topology of topologies) {
    for (const kind of ["all-reduce", "reduce-scatter", "all-gather", "broadcast"] satisfies Kind[]) {
      const work = { kind, root: 1, byteLength: 5000 } satisfies Omit<Routed, "inPlace">;
      const options = { segmentBytes: 1024, directBytes: 0 };
      for (const group of topology.filter((ranks) => ranks.length > 1)) {
        const phases = routeOf({ ...work, inPlace: false }, topology, group[0]!, options);
        const wire = phases.findIndex((phase) => phase.kind !== "memory");
        const movesIn = (part: typeof phases) => part.flatMap((phase) => (phase.kind === "memory" ? phase.moves : []));
        const moved = group.map((rank) => {
          const [meeting, ...rest] = routeOf({ ...work, inPlace: true }, topology, rank, options);
          expect([meeting, rest.at(-1)]).toEqual(Array(2).fill({ kind: "memory", moves: [] }));
          const [ring] = rest;
          return ring?.kind === "ring" ? ring.moves! : { before: [], after: [] };
        });
        expect(byBegin(moved.flatMap(({ before }) => before))).toEqual(byBegin(movesIn(phases.slice(0, wire))));
        expect(byBegin(moved.flatMap(({ after }) => after))).toEqual(byBegin(movesIn(phases.slice(wire + 1))));
      }
    }
  }
});

function byBegin<T extends { readonly begin: number }>(moves: readonly T[]): T[] {
  return [...moves].sort((a, b) => a.begin - b.begin);
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
