// What the tests of the contract of collectives share (test/unit/collective/contract-*.test.ts): worlds of random shape, over any
// transport, in which ranks come late. Buffers are overwritten as soon as a call resolves, as the next step's gradients would be.

import fc from "fast-check";
import { afterEach, expect } from "vitest";
import { createRandom } from "../../common/random.ts";
import type { CollectiveCall } from "../../worker/collective/collective.ts";
import type { SessionCollective } from "../../worker/collective/session.ts";
import { formWorld, type TransportKind, type World } from "./collective-world.ts";

export const call = (step: number, signal = new AbortController().signal): CollectiveCall => ({
  step,
  bucket: 0,
  signal,
});
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** 0, 1, n-1, n, n+1, around the chunk and the page, and larger. */
const awkwardLength = (n: number): fc.Arbitrary<number> =>
  fc.oneof(
    fc.constantFrom(0, 1, n - 1, n, n + 1, 16 * n - 1, 16 * n, 16 * n + 1, 1023, 1025),
    fc.integer({ min: 0, max: 3000 }),
  );

export interface Given {
  readonly n: number;
  readonly lengths: readonly number[];
  readonly seed: number;
  readonly segmentBytes: number;
  readonly windowSegments: number;
  readonly directBytes: number;
  /** The host of each rank. */
  readonly hosts: readonly number[];
  /** In memory that can be shared, or not. */
  readonly allocated: boolean;
  readonly root: number;
}

export const scenario: fc.Arbitrary<Given> = fc.integer({ min: 1, max: 8 }).chain((n) =>
  fc.record({
    n: fc.constant(n),
    lengths: fc.array(awkwardLength(n), { minLength: 1, maxLength: 3 }),
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    segmentBytes: fc.constantFrom(8, 64, 1000, 65536),
    windowSegments: fc.constantFrom(1, 2, 16),
    directBytes: fc.constantFrom(0, 1000, 65536),
    hosts: fc.array(fc.nat({ max: 2 }), { minLength: n, maxLength: n }),
    allocated: fc.boolean(),
    root: fc.nat({ max: n - 1 }),
  }),
);
/** Of a property, over a transport. */
export const runsOf = (kind: TransportKind): number => (kind.startsWith("in process") ? 20 : 5);

/** Closed at the end of the test. */
export const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** Every rank runs `act` with buffers of its own; ranks come late by a number of turns drawn from the seed. */
export async function onAllRanks<T>(
  kind: TransportKind,
  { n, lengths, seed, allocated, ...ring }: Pick<Given, "n" | "lengths" | "seed" | "allocated"> & Partial<Given>,
  act: (rank: { collective: SessionCollective; buffers: Float32Array[]; late: () => Promise<void> }) => Promise<T>,
): Promise<T[]> {
  const buffers: Float32Array[][] = [];
  // Real sockets move 8 bytes as slowly as 4,000: there the large segments will do.
  const segmentBytes = kind.startsWith("in process") ? ring.segmentBytes : Math.max(1000, ring.segmentBytes ?? 0);
  const world = await formWorld(n, {
    ...{ seed, kind, ...ring, ...(segmentBytes === undefined ? {} : { segmentBytes }) },
    prepare: (endpoints) => {
      for (const endpoint of endpoints) {
        buffers.push(lengths.map((length) => (allocated ? endpoint.allocate(length) : new Float32Array(length))));
      }
    },
  });
  worlds.push(world);
  const results = await Promise.all(
    world.collectives.map((collective, rank) => {
      const random = createRandom(seed, `rank ${rank}`);
      const late = async (): Promise<void> => {
        for (let turns = random.integer(4); turns > 0; turns--) await turn();
      };
      return act({ collective, buffers: buffers[rank]!, late });
    }),
  );
  if (n > 1) {
    const path = pathOf(kind, n, ring.hosts ?? world.collectives.map(({ rank }) => rank % 2));
    for (const collective of world.collectives) expect(collective.path).toBe(path);
  }
  await Promise.all(worlds.splice(0).map((each) => each.close()));
  return results;
}

function pathOf(kind: TransportKind, n: number, hosts: readonly number[]): string {
  if (kind.endsWith("shared memory")) return `shared memory of ${n} ranks`;
  if (!kind.endsWith("hosts")) return `ring of ${n} ranks`;
  const sizes = [...new Set(hosts)].map((host) => hosts.filter((each) => each === host).length);
  if (sizes.length === 1) return `shared memory of ${n} ranks`;
  if (sizes.length === n) return `ring of ${n} ranks`;
  const rings = Math.min(...sizes);
  return `shared memory of ${sizes.join(" + ")} ranks, joined by ${rings} ${rings === 1 ? "ring" : "rings"}`;
}
export const bits = (buffer: Float32Array | BigInt64Array): string =>
  Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString("hex");
