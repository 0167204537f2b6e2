// Any collectives in any order, over every transport, while ranks are slow and one may be lost at any moment: whatever is finished is
// right, whoever is lost is named, the news of it ends every call at once, and those who are left go on in the next generation.

import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { chunkOf } from "../../../worker/collective/chunks.ts";
import type { Collective } from "../../../worker/collective/collective.ts";
import { formWorld, transportKinds, type World } from "../../support/collective-world.ts";

const kinds = ["all-reduce", "integers", "reduce-scatter", "all-gather", "broadcast", "barrier"] as const;

interface Act {
  readonly kind: (typeof kinds)[number];
  readonly length: number;
  readonly root: number;
}

interface Given {
  readonly n: number;
  readonly seed: number;
  readonly hosts: readonly number[];
  readonly directBytes: number;
  readonly allocated: boolean;
  readonly acts: readonly Act[];
  /** Who is lost, if anybody, and after how many turns of the event loop. */
  readonly lost: { readonly rank: number; readonly turns: number } | null;
  /** Who takes its time before each call. */
  readonly slow: number;
}

const scenario: fc.Arbitrary<Given> = fc.integer({ min: 2, max: 5 }).chain((n) =>
  fc.record({
    n: fc.constant(n),
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    hosts: fc.array(fc.nat({ max: 2 }), { minLength: n, maxLength: n }),
    directBytes: fc.constantFrom(0, 4000),
    allocated: fc.boolean(),
    acts: fc.array(
      fc.record({
        kind: fc.constantFrom(...kinds),
        length: fc.constantFrom(0, 1, 16 * n + 1, 1000, 4000),
        root: fc.nat({ max: n - 1 }),
      }),
      { minLength: 1, maxLength: 5 },
    ),
    lost: fc.option(fc.record({ rank: fc.nat({ max: n - 1 }), turns: fc.nat({ max: 30 }) })),
    slow: fc.nat({ max: n - 1 }),
  }),
);

/** One loss is never too late: nothing has arrived yet. */
const lossAtOnce: Given = {
  ...{ n: 3, seed: 1, hosts: [0, 1, 0], directBytes: 0, allocated: true, slow: 0 },
  acts: [{ kind: "all-reduce", length: 4000, root: 0 }],
  lost: { rank: 1, turns: 0 },
};

const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const inputAt = (rank: number, step: number, i: number): number => ((i * 31 + step * 7) % 101) * (rank + 1);

/** Performs one act on `memory`, and compares with what it must give: small whole numbers, so sums are exact. */
async function perform(collective: Collective, memory: Float32Array, act: Act, step: number, signal: AbortSignal) {
  const { rank, worldSize: n } = collective;
  const call = { step, bucket: 0, signal };
  const buffer = memory.subarray(0, act.length).map((_, i) => inputAt(rank, step, i));
  memory.set(buffer);
  const part = memory.subarray(0, act.length);
  const factor = (n * (n + 1)) / 2;
  const expectAll = (expected: (i: number) => number, { begin, end } = { begin: 0, end: act.length }): void => {
    const wrong = part.findIndex((value, i) => i >= begin && i < end && value !== expected(i));
    if (wrong >= 0) throw new Error(`element ${wrong} of ${act.kind} is ${part[wrong]}, not ${expected(wrong)}`);
  };
  const own = chunkOf(rank, n, act.length);
  switch (act.kind) {
    case "all-reduce":
      await collective.allReduce(part, call);
      return expectAll((i) => inputAt(0, step, i) * factor);
    case "integers": {
      const integers = new BigInt64Array(memory.buffer, memory.byteOffset, act.length >> 1);
      integers.forEach((_, i) => (integers[i] = BigInt(inputAt(rank, step, i))));
      await collective.allReduce(integers, call);
      const wrong = integers.findIndex((value, i) => value !== BigInt(inputAt(0, step, i) * factor));
      if (wrong >= 0) throw new Error(`integer ${wrong} is ${integers[wrong]}`);
      return;
    }
    case "reduce-scatter":
      await collective.reduceScatter(part, call);
      return expectAll((i) => inputAt(0, step, i) * factor, own);
    case "all-gather": {
      await collective.allGather(part, call);
      const owner = (i: number): number =>
        Array.from({ length: n }, (_, each) => each).find((each) => i < chunkOf(each, n, act.length).end)!;
      return expectAll((i) => inputAt(owner(i), step, i));
    }
    case "broadcast":
      await collective.broadcast(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), act.root, call);
      return expectAll((i) => inputAt(act.root, step, i));
    case "barrier":
      return collective.barrier(call);
  }
}

describe.each(transportKinds)("%s", (kind) => {
  test("what is finished is right, who is lost is named, and the others go on", async () => {
    let losses = 0;
    const property = fc.asyncProperty(scenario, async ({ n, acts, lost, slow, allocated, ...options }) => {
      let memories: Float32Array[] = [];
      const world = await formWorld(n, {
        ...{ kind, ...options, segmentBytes: 1024, windowSegments: 2 },
        prepare: (endpoints) =>
          (memories = endpoints.map((each) => (allocated ? each.allocate(4000) : new Float32Array(4000)))),
      });
      worlds.push(world);
      const news = new AbortController();
      await Promise.all(world.collectives.map((each) => each.barrier({ step: 1, bucket: 0, signal: news.signal })));
      const random = createRandom(options.seed, "chaos");
      const outcomes = world.collectives.map(async (collective, rank): Promise<unknown> => {
        try {
          // The last is a barrier, so that whoever misses a rank has a call to tell of it.
          for (const [index, act] of [...acts, { kind: "barrier", length: 0, root: 0 } as const].entries()) {
            const turns = rank === slow ? random.integer(12) : 0;
            for (let waited = 0; waited < turns && !news.signal.aborted; waited++) await turn();
            await perform(collective, memories[rank]!, act, 2 + index, news.signal);
          }
          return undefined;
        } catch (error) {
          return error;
        }
      });
      if (lost === null) {
        expect(await Promise.all(outcomes)).toEqual(outcomes.map(() => undefined));
      } else {
        for (let turns = lost.turns; turns > 0; turns--) await turn();
        await world.lose(lost.rank);
        const survivors = outcomes.filter((_, rank) => rank !== lost.rank);
        const failures = survivors.map(async (outcome) => (await outcome) ?? new Promise<never>(() => undefined));
        const first = await Promise.race([...failures, Promise.all(survivors).then(() => undefined)]);
        if (first !== undefined) {
          losses++;
          expect((first as Error).message).toMatch(new RegExp(`lost the connection to rank ${lost.rank} `));
        }
        news.abort("told by the coordinator");
        const late = Symbol("late");
        await turn();
        for (const outcome of survivors) expect(await Promise.race([outcome, turn().then(() => late)])).not.toBe(late);
      }
      const left = world.endpoints.filter((_, rank) => rank !== lost?.rank);
      const addresses = left.map(({ address }) => address);
      const next = await Promise.all(
        left.map((each, rank) => each.form({ jobId: "job", generation: 2, rank, endpoints: addresses })),
      );
      const memoriesLeft = memories.filter((_, rank) => rank !== lost?.rank);
      const { signal } = new AbortController();
      const act = { kind: "all-reduce", length: 4000, root: 0 } as const;
      await Promise.all(next.map((each, rank) => perform(each, memoriesLeft[rank]!, act, 1, signal)));
      await Promise.all(worlds.splice(0).map((each) => each.close()));
    });
    const examples: [Given][] = [[lossAtOnce]];
    const numRuns = kind.startsWith("in process") ? 30 : 8;
    await fc.assert(property, { numRuns, examples, endOnFailure: true });
    expect(losses).toBeGreaterThan(0);
  });
});
