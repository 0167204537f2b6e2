// What every transport must keep: the same sums as a float64 reference over the ranks, equal bits everywhere, at any world size
// and length, with ranks that come late; and a rank that is lost is named, at once. Buffers are overwritten as soon as
// a call resolves, as the next step's gradients would be.

import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { createRandom, type Random } from "../../../common/random.ts";
import { decodeFrame } from "../../../proto/frame.ts";
import { chunkOf } from "../../../worker/collective/chunks.ts";
import type { CollectiveCall } from "../../../worker/collective/collective.ts";
import type { SessionCollective } from "../../../worker/collective/session.ts";
import { formWorld, transportKinds, type TransportKind, type World } from "../../support/collective-world.ts";

const never = new AbortController().signal;
const call = (step: number, signal = never): CollectiveCall => ({ step, bucket: 0, signal });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** 0, 1, n-1, n, n+1, around the chunk and the page, and larger. */
const awkwardLength = (n: number): fc.Arbitrary<number> =>
  fc.oneof(
    fc.constantFrom(0, 1, n - 1, n, n + 1, 16 * n - 1, 16 * n, 16 * n + 1, 1023, 1025),
    fc.integer({ min: 0, max: 3000 }),
  );

interface Given {
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

const scenario: fc.Arbitrary<Given> = fc.integer({ min: 1, max: 8 }).chain((n) =>
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

const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** Every rank runs `act` with buffers of its own; ranks come late by a number of turns drawn from the seed. */
async function onAllRanks<T>(
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

const normals = (random: Random, length: number): Float32Array => Float32Array.from({ length }, () => random.normal());
const inputOf = (seed: number, rank: number, index: number, length: number): Float32Array =>
  normals(createRandom(seed, `input ${rank} ${index}`), length);
const integersIn = (buffer: Float32Array): BigInt64Array =>
  new BigInt64Array(buffer.buffer, buffer.byteOffset, Math.floor(buffer.length / 2));
const wordsOf = (random: Random, length: number): BigInt64Array =>
  BigInt64Array.from({ length }, () => BigInt(random.integer(2 ** 31)) * BigInt(random.integer(2 ** 31)) * 3n);
const bits = (buffer: Float32Array | BigInt64Array): string =>
  Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString("hex");

/** Whether `result` is the sum over ranks within rounding: 1e-6 of the sum of magnitudes. */
function expectSum(result: Float32Array, seed: number, n: number, index: number, begin = 0, end = result.length): void {
  const inputs = Array.from({ length: n }, (_, rank) => inputOf(seed, rank, index, result.length));
  let worst = 0;
  for (let i = begin; i < end; i++) {
    const exact = inputs.reduce((sum, input) => sum + input[i]!, 0);
    const scale = inputs.reduce((sum, input) => sum + Math.abs(input[i]!), 0);
    const error = Math.abs(result[i]! - exact) / scale;
    worst = error <= worst ? worst : error; // NaN stays
  }
  expect(worst).toBeLessThanOrEqual(1e-6);
}

describe.each(transportKinds)("%s", (kind) => {
  const numRuns = kind.startsWith("in process") ? 20 : 5;

  test("an all-reduce leaves the sum on all ranks, bit-identical, at any world size and length", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const sums: Float32Array[] = [];
          for (const [index, buffer] of buffers.entries()) {
            buffer.set(inputOf(given.seed, collective.rank, index, buffer.length));
            await late();
            await collective.allReduce(buffer, call(index));
            sums.push(buffer.slice());
            buffer.fill(Number.NaN);
          }
          return sums;
        });
        for (const sums of results) expect(sums.map(bits)).toEqual(results[0]!.map(bits));
        for (const [index, sum] of results[0]!.entries()) expectSum(sum, given.seed, given.n, index);
      }),
      { numRuns },
    );
  });

  test("a reduce-scatter leaves each rank its chunk, an all-gather spreads them, and a part of a buffer will do", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const { seed, n } = given;
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const sums: Float32Array[] = [];
          for (const [index, whole] of buffers.entries()) {
            const buffer = whole.subarray(Math.min(whole.length, 3));
            buffer.set(inputOf(seed, collective.rank, index, buffer.length));
            await late();
            await collective.reduceScatter(buffer, call(2 * index));
            const { begin, end } = chunkOf(collective.rank, n, buffer.length);
            expectSum(buffer, seed, n, index, begin, end);
            buffer.fill(Number.NaN, 0, begin).fill(Number.NaN, end);
            await late();
            await collective.allGather(buffer, call(2 * index + 1));
            sums.push(buffer.slice());
            buffer.fill(-1);
          }
          return sums;
        });
        for (const sums of results) expect(sums.map(bits)).toEqual(results[0]!.map(bits));
        for (const [index, sum] of results[0]!.entries()) expectSum(sum, seed, n, index);
      }),
      { numRuns },
    );
  });

  test("integers are summed exactly, and around the end as processors do, at any world size and length", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const inputs = (rank: number, index: number, length: number): BigInt64Array =>
          wordsOf(createRandom(given.seed, `words ${rank} ${index}`), length);
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const sums: BigInt64Array[] = [];
          for (const [index, buffer] of buffers.entries()) {
            const integers = integersIn(buffer);
            integers.set(inputs(collective.rank, index, integers.length));
            await late();
            await collective.allReduce(integers, call(index));
            sums.push(integers.slice());
            integers.fill(-1n);
          }
          return sums;
        });
        const ranks = Array.from({ length: given.n }, (_, rank) => rank);
        for (const sums of results) {
          for (const [index, sum] of sums.entries()) {
            const all = ranks.map((rank) => inputs(rank, index, sum.length));
            expect([...sum]).toEqual(
              Array.from(sum, (_, i) =>
                BigInt.asIntN(
                  64,
                  all.reduce((total, each) => total + each[i]!, 0n),
                ),
              ),
            );
          }
        }
      }),
      { numRuns },
    );
  });

  test("floats that meet integers are refused, and both are named", async () => {
    const world = await formWorld(2, { seed: 1, kind });
    worlds.push(world);
    const [a, b] = world.collectives;
    const outcomes = [a!.allReduce(new Float32Array(64), call(1)), b!.allReduce(new BigInt64Array(32), call(1))].map(
      (outcome) => outcome.then(() => "summed", String),
    );
    // Whoever is first to see it leaves, and the other hears of that.
    expect(await Promise.race(outcomes)).toMatch(/expected .*(float32.* but .*int64|int64.* but .*float32).* came/);
  });

  test("a buffer of another length is refused, and both are named", async () => {
    const world = await formWorld(2, { seed: 1, kind });
    worlds.push(world);
    const [a, b] = world.collectives;
    const outcomes = [a!.allReduce(new Float32Array(64), call(1)), b!.allReduce(new Float32Array(96), call(1))].map(
      (outcome) => outcome.then(() => "summed", String),
    );
    expect(await Promise.race(outcomes)).toMatch(/expected .*(256.* but .*384|384.* but .*256).* came/);
  });

  test("a broadcast leaves the bytes of the root everywhere, whoever the root is", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const byte = (rank: number, i: number): number => (i * 31 + rank * 101) % 256;
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const copies: Buffer[] = [];
          for (const [step, buffer] of buffers.entries()) {
            const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, Math.max(0, buffer.byteLength - 3));
            bytes.forEach((_, i) => (bytes[i] = byte(collective.rank, i)));
            await late();
            await collective.broadcast(bytes, given.root, call(step));
            copies.push(Buffer.from(bytes));
            bytes.fill(0);
          }
          return copies;
        });
        for (const copies of results) {
          for (const copy of copies) expect(copy.every((value, i) => value === byte(given.root, i))).toBe(true);
        }
      }),
      { numRuns },
    );
  });

  test("a transfer copies from one rank to one other, either way, and the rest need not come", async () => {
    const n = 4;
    const pairs = [
      { from: 0, to: 1 },
      { from: 3, to: 1 },
      { from: 1, to: 3 },
      { from: 2, to: 0 },
    ];
    const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
    const seen = await onAllRanks(
      kind,
      { n, lengths: [], seed: 3, allocated: false, segmentBytes: 1000 },
      async (rank) => {
        const { collective } = rank;
        const buffers: Uint8Array[] = [];
        for (const [step, between] of pairs.entries()) {
          const buffer = filled(5003, collective.rank);
          await rank.late();
          const { bytesSent } = await collective.transfer(buffer, between, call(step));
          expect(bytesSent).toBe(collective.rank === between.from ? 5003 : 0);
          buffers.push(buffer);
          // Among transfers there are calls of all.
          await collective.barrier(call(step));
        }
        return buffers;
      },
    );
    for (const [rank, buffers] of seen.entries()) {
      for (const [i, { from, to }] of pairs.entries()) {
        expect(Buffer.from(filled(5003, rank === to ? from : rank)).equals(buffers[i]!), `rank ${rank}, ${i}`).toBe(
          true,
        );
      }
    }
  });

  test("buffers are passed along a chain of some ranks while the others go on, and all meet again in the next call", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const chain = Array.from({ length: given.n }, (_, i) => (given.root + i) % given.n).slice(
          0,
          1 + (given.seed % 4),
        );
        const byte = (rank: number, buffer: number, i: number): number => (i * 31 + rank * 101 + buffer * 7) % 256;
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const { rank } = collective;
          const parts = [3, 0, 70_000].map((length) => new Uint8Array(length).fill(rank));
          for (const [at, part] of parts.entries())
            if (rank === chain[0]) part.forEach((_, i) => (part[i] = byte(rank, at, i)));
          await late();
          const passing = chain.includes(rank) ? collective.pass(parts, chain, call(1)) : undefined;
          const sum = (buffers[0] ?? new Float32Array(1)).fill(1);
          // The next call is made before this one is through.
          await collective.allReduce(sum, call(2));
          await passing;
          return { rank, parts, sums: [...sum] };
        });
        for (const { rank, parts, sums } of results) {
          expect(sums.every((value) => value === given.n)).toBe(true);
          const from = chain.includes(rank) ? chain[0]! : undefined;
          for (const [at, part] of parts.entries())
            expect(part.every((value, i) => value === (from === undefined ? rank : byte(from, at, i)))).toBe(true);
        }
      }),
      { numRuns: Math.ceil(numRuns / 2) },
    );
  });

  test("nobody leaves a barrier before everybody has come", async () => {
    for (const n of [1, 2, 5]) {
      let came = 0;
      const seen = await onAllRanks(kind, { n, lengths: [], seed: n, allocated: false }, async (rank) => {
        const seen: number[] = [];
        for (let round = 0; round < 4; round++) {
          await rank.late();
          came++;
          await rank.collective.barrier(call(round));
          seen.push(came);
        }
        return seen;
      });
      for (const each of seen) each.forEach((count, round) => expect(count).toBeGreaterThanOrEqual(n * (round + 1)));
    }
  });

  test("a rank that is lost at any moment is named by one that misses it, and the news ends the call of the others at once", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const random = createRandom(seed, "loss");
      const n = 2 + random.integer(4);
      const lost = random.integer(n);
      const world = await formWorld(n, { seed, kind, segmentBytes: 64, windowSegments: 2 });
      worlds.push(world);
      await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
      const news = new AbortController();
      const buffers = world.collectives.map(() => new Float32Array(40_000).fill(1));
      // One survivor comes to the call only after the loss, so the call can't be over before; the lost rank may have come.
      const held = (lost + 1) % n;
      const begin = (rank: number): Promise<unknown> =>
        world.collectives[rank]!.allReduce(buffers[rank]!, call(2, news.signal)).then(
          () => undefined,
          (error: unknown) => error,
        );
      const outcomes = world.collectives.map((_, rank) =>
        rank === held || (rank === lost && random.integer(2) === 0) ? Promise.resolve<unknown>(undefined) : begin(rank),
      );
      for (let turns = random.integer(6); turns > 0; turns--) await turn();
      await world.lose(lost);
      outcomes[held] = begin(held);
      const survivors = outcomes.filter((_, rank) => rank !== lost);
      const first = await Promise.race(survivors);
      expect((first as Error).message).toMatch(new RegExp(`lost the connection to rank ${lost} `));
      news.abort("told by the coordinator");
      await turn();
      const late = Symbol("late");
      for (const outcome of survivors) {
        const error = await Promise.race([outcome, turn().then(() => late)]);
        expect(error).not.toBe(late);
        expect(error === "told by the coordinator" || error instanceof Error).toBe(true);
      }
      await Promise.all(worlds.splice(0).map((each) => each.close()));
    }
  });

  test("the next generation sums right whatever the last one left behind", async () => {
    let buffers: Float32Array[] = [];
    const world = await formWorld(4, {
      ...{ seed: 5, kind, segmentBytes: 1024, windowSegments: 2 },
      prepare: (endpoints) => (buffers = endpoints.map((endpoint) => endpoint.allocate(5000))),
    });
    worlds.push(world);
    for (let generation = 2; generation < 6; generation++) {
      const abandoned = world.collectives.map((collective, rank) =>
        rank === 3 ? Promise.resolve() : collective.allReduce(buffers[rank]!, call(1)),
      );
      for (const each of abandoned) each.catch(() => undefined); // cut short
      const size = 2 + (generation % 3);
      const next = await world.form(generation, size);
      next.forEach((_, rank) => buffers[rank]!.forEach((_, i, all) => (all[i] = i * (rank + 1))));
      await Promise.all(next.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
      const factor = (size * (size + 1)) / 2;
      for (const buffer of buffers.slice(0, size)) expect(buffer.every((sum, i) => sum === i * factor)).toBe(true);
      await Promise.allSettled(abandoned.slice(0, size));
    }
  });
});

test("each rank moves 2(n-1)/n of the buffer", async () => {
  for (const kind of ["in process", "in process, shared memory"] as const) {
    for (const n of [2, 4, 8]) {
      const length = 1024 * n;
      const given = { n, lengths: [length], seed: n, allocated: true, directBytes: 0 };
      const moved = await onAllRanks(kind, given, async (rank) => {
        return (await rank.collective.allReduce(rank.buffers[0]!, call(1))).bytesSent;
      });
      for (const bytes of moved) expect(bytes).toBe(((2 * (n - 1)) / n) * length * 4);
    }
  }
});

test("each host sends 2(h-1)/h of the buffer to others, divided among its ranks", async () => {
  for (const [h, ranks] of [
    [2, 2],
    [2, 3],
    [3, 2],
  ] as const) {
    const n = h * ranks;
    const length = 1024 * n;
    const hosts = Array.from({ length: n }, (_, rank) => rank % h);
    const given = { n, lengths: [length], seed: n, allocated: true, directBytes: 0, hosts };
    const moved = await onAllRanks("in process, hosts", given, async (rank) => {
      return (await rank.collective.allReduce(rank.buffers[0]!, call(1))).bytesBetweenHosts;
    });
    for (const bytes of moved) expect(bytes).toBe((((2 * (h - 1)) / h) * length * 4) / ranks);
  }
});

test("a small buffer goes to everybody at once: each rank waits for one message from each, and for no other", async () => {
  const world = await formWorld(5, { seed: 3 });
  worlds.push(world);
  await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
  const kinds: string[] = [];
  world.network.intercept = ({ parts, direction }) => {
    const decoded = decodeFrame(parts);
    if (direction === "forward" && decoded.ok) kinds.push(`${decoded.header.kind} of ${decoded.header.source}`);
    return [parts];
  };
  const buffers = world.collectives.map(({ rank }) => new Float32Array(100).fill(rank));
  const stats = await Promise.all(
    world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(2))),
  );
  for (const buffer of buffers) expect(new Set(buffer)).toEqual(new Set([10]));
  for (const { bytesSent } of stats) expect(bytesSent).toBe(4 * 400);
  const ranks = world.collectives.map(({ rank }) => rank);
  expect(kinds.sort()).toEqual(ranks.flatMap((rank) => Array<string>(4).fill(`exchange of ${rank}`)));
});
