// Gradients that are reduced in buckets while others are computed: the same sums as one bucket after the other, on ranks of this
// process and with an engine of the test's own, which writes its gradients when the test wants.

import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createRandom, type Random } from "../../../common/random.ts";
import type { RingEndpoint } from "../../../worker/collective/endpoint.ts";
import { createLayout, type ParameterLayout } from "../../../worker/model/parameters.ts";
import { createGradientExchange, type GradientExchange } from "../../../worker/train/gradient-exchange.ts";
import { planBuckets } from "../../../worker/train/overlap/buckets.ts";
import { createClient, type ReducerClient } from "../../../worker/train/overlap/reducer-client.ts";
import { formWorld, type TransportKind } from "../../support/collective-world.ts";
import { localReducer } from "../../support/local-reducer.ts";

const { signal } = new AbortController();

function layoutOf(random: Random, tensors: number): ParameterLayout {
  const sizes = Array.from({ length: tensors }, () => 1 + random.integer(200));
  return createLayout(sizes.map((size, i) => ({ name: `tensor.${i}`, shape: [size] })));
}

interface Rank {
  readonly exchange: GradientExchange;
  readonly ready: readonly Float32Array[];
  readonly own: Float32Array;
  /** Writes the gradients of a bucket, and says so as a graph would. */
  write(bucket: number): void;
}

interface Circumstances {
  readonly seed?: number;
  readonly kind?: TransportKind;
  /** Keeps what a reducer has done from the exchange until it resolves. */
  readonly reducedBy?: (reduced: Promise<unknown>) => Promise<void>;
}

/** Ranks with a reducer each, in a generation of their own. */
async function createRanks(
  count: number,
  layout: ParameterLayout,
  bucketBytes: number,
  { seed = 1, kind = "in process", reducedBy }: Circumstances = {},
) {
  const setup = { layout, buckets: planBuckets(layout, bucketBytes) };
  const exchanges: GradientExchange[] = [];
  const reducers = await formWorld(count, { seed, kind });
  const world = await formWorld(count, {
    ...{ seed, kind },
    prepare: (endpoints) =>
      endpoints.forEach((endpoint, rank) => {
        const settings = { overlap: "on", bucket_mb: bucketBytes / 1e6 } as const;
        const start = (): ReducerClient => {
          const reducer = localReducer(reducers.endpoints[rank]!);
          return {
            ...reducer,
            async reduce(order) {
              const reduced = reducer.reduce(order);
              await reducedBy?.(reduced);
              return reduced;
            },
          };
        };
        exchanges.push(createGradientExchange(layout, endpoint, settings, start));
      }),
  });
  onTestFinished(async () => {
    await Promise.all(exchanges.map(async (exchange) => exchange.close?.()));
    await world.close();
  });
  const random = createRandom(seed, "gradients");
  const ranks = exchanges.map((exchange): Rank => {
    const ready = setup.buckets.map(({ tensors }) => new Float32Array(new ArrayBuffer(4 * tensors.length)));
    const own = Float32Array.from({ length: layout.size }, () => random.next() - 0.5);
    return {
      ...{ exchange, ready, own },
      write(bucket) {
        const { begin, end } = setup.buckets[bucket]!;
        exchange.gradients.set(own.subarray(begin, end), begin);
        ready[bucket]!.fill(own[begin]!);
      },
    };
  });
  let generation = 1;
  let collectives = world.collectives;
  return {
    ...setup,
    ranks,
    reducers,
    world,
    get collectives() {
      return collectives;
    },
    async form() {
      generation += 1;
      await Promise.all(exchanges.map(async (exchange) => exchange.leave?.()));
      collectives = await world.form(generation);
      const endpoints = world.endpoints.map(({ address }: RingEndpoint) => address);
      await Promise.all(
        ranks.map(({ exchange, ready }, rank) => {
          const membership = { jobId: "job", generation, rank, endpoints };
          return exchange.form!({ collective: collectives[rank]!, membership, ready }, { step: 0, bucket: 0, signal });
        }),
      );
      return exchanges.map(({ how }) => how);
    },
  };
}

function begin({ exchange }: Rank, step: number): void {
  exchange.begin({ step, microbatches: 1, scale: 1 });
  exchange.startEarly!();
}

test("buckets are whole tensors from the end of the layout to its beginning, full but for the last", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = createRandom(seed, "buckets");
    const layout = layoutOf(random, 1 + random.integer(30));
    const bytes = 4 * (1 + random.integer(layout.size + 50));
    const buckets = planBuckets(layout, bytes);
    expect(buckets[0]!.end).toBe(layout.size);
    expect(buckets.at(-1)!.begin).toBe(0);
    for (const [i, { begin, end, tensors }] of buckets.entries()) {
      if (i > 0) expect(end).toBe(buckets[i - 1]!.begin);
      const inside = layout.specs.filter(({ offset }) => offset >= begin && offset < end);
      expect(tensors).toEqual(inside.map(({ name }) => name).reverse());
      if (begin > 0) expect(4 * (end - begin), `seed ${seed}`).toBeGreaterThanOrEqual(bytes);
      // Without the tensor that filled it, it was not full.
      expect(4 * (end - begin - inside[0]!.size)).toBeLessThan(bytes);
    }
  }
});

describe("an exchange that overlaps", () => {
  test.each([
    ["ranks apart from each other", "in process"],
    ["ranks of one host", "in process, shared memory"],
    ["ranks of two hosts", "in process, hosts"],
  ] as const)("sums %s to the same bits as one bucket after another", async (_, kind) => {
    for (let seed = 1; seed <= 8; seed++) {
      const random = createRandom(seed, "sizes");
      const count = 2 + (seed % 3);
      const layout = layoutOf(random, 4 + random.integer(12));
      const setup = await createRanks(count, layout, 4 * (1 + random.integer(layout.size / 3)), { seed, kind });
      const { ranks, buckets } = setup;
      const adopts = setup.reducers.endpoints.map((endpoint) => vi.spyOn(endpoint, "adopt"));
      await setup.form();
      const shares = adopts.map(({ mock }) => mock.lastCall?.[0] !== undefined);
      const besides = (rank: number): number =>
        kind === "in process, hosts" ? (count - (rank % 2) - 1) >> 1 : count - 1;
      expect(shares).toEqual(ranks.map((_, rank) => kind !== "in process" && besides(rank) > 0));
      const expected = ranks.map(({ own }) => Float32Array.from(own));
      for (const [bucket, { begin, end }] of buckets.entries()) {
        const call = { step: 0, bucket, signal };
        await Promise.all(
          expected.map((sum, rank) => setup.collectives[rank]!.allReduce(sum.subarray(begin, end), call)),
        );
      }
      // The last rank computes nothing in step 2, as whoever has no rows.
      for (const step of [1, 2, 3]) {
        const stats = await Promise.all(
          ranks.map(async (rank, index) => {
            if (step === 2 && index === count - 1) rank.exchange.begin({ step, microbatches: 1, scale: 1 });
            else {
              begin(rank, step);
              for (const bucket of buckets.keys()) {
                for (let turns = random.integer(4); turns > 0; turns--) await turn();
                rank.write(bucket);
              }
              rank.exchange.add("all");
            }
            return rank.exchange.reduce(setup.collectives[index]!, { step, bucket: 0, signal });
          }),
        );
        for (const { buckets: times } of stats) expect(times).toHaveLength(buckets.length);
        for (const { exchange } of ranks) {
          if (step === 2) expect(exchange.gradients).toEqual(ranks[0]!.exchange.gradients);
          else expect(exchange.gradients, `seed ${seed}, step ${step}`).toEqual(expected[0]);
        }
      }
    }
  });

  test("has summed the first bucket before the last one is there", async () => {
    const setup = await createRanks(2, layoutOf(createRandom(5, "layout"), 6), 4);
    const { ranks, buckets, layout } = setup;
    expect(await setup.form()).toEqual(Array(2).fill(", in 6 buckets while the backward pass goes on"));
    const first = layout.size - 1;
    const sum = Math.fround(ranks[0]!.own[first]! + ranks[1]!.own[first]!);
    const stats = await Promise.all(
      ranks.map(async (rank, index) => {
        begin(rank, 1);
        rank.write(0);
        // For ever, were nothing reduced before `reduce`.
        while (rank.exchange.gradients[first] !== sum) await turn();
        const begins = performance.timeOrigin + performance.now();
        for (let bucket = 1; bucket < buckets.length; bucket++) rank.write(bucket);
        rank.exchange.add("all");
        return { begins, ...(await rank.exchange.reduce(setup.collectives[index]!, { step: 1, bucket: 0, signal })) };
      }),
    );
    for (const { begins, buckets: times } of stats) expect(times![0]!.began).toBeLessThan(begins);
  });

  test("an abort in the middle is over when it is told, and the next generation sums anew", async () => {
    const setup = await createRanks(2, layoutOf(createRandom(6, "layout"), 5), 4);
    const { ranks, buckets } = setup;
    await setup.form();
    const aborting = new AbortController();
    for (const rank of ranks) begin(rank, 1);
    for (const bucket of buckets.keys()) ranks[0]!.write(bucket);
    ranks[0]!.exchange.add("all");
    const reducing = ranks[0]!.exchange.reduce(setup.collectives[0]!, { step: 1, bucket: 0, signal: aborting.signal });
    aborting.abort(new Error("generation 3 is formed"));
    await expect(reducing).rejects.toThrow("generation 3 is formed");
    // Rank 1 still computes: it is stopped when it forms the next generation, before anything writes there.
    await setup.form();
    const before = Float32Array.from(ranks[1]!.exchange.gradients);
    for (let turns = 0; turns < 20; turns++) await turn();
    expect(ranks[1]!.exchange.gradients).toEqual(before);
    await Promise.all(
      ranks.map(async (rank, index) => {
        begin(rank, 1);
        for (const bucket of buckets.keys()) rank.write(bucket);
        rank.exchange.add("all");
        await rank.exchange.reduce(setup.collectives[index]!, { step: 1, bucket: 0, signal });
      }),
    );
    const [a, b] = ranks.map(({ own }) => own);
    expect(ranks[1]!.exchange.gradients).toEqual(a!.map((value, i) => value + b![i]!));
  });

  test("what is over just when the sums are there is over", async () => {
    const aborting = new AbortController();
    const setup = await createRanks(2, layoutOf(createRandom(9, "layout"), 5), 4, {
      reducedBy: async (reduced) => {
        await reduced;
        aborting.abort(new Error("generation 3 is formed"));
      },
    });
    await setup.form();
    const steps = setup.ranks.map(async (rank, index) => {
      begin(rank, 1);
      for (const bucket of setup.buckets.keys()) rank.write(bucket);
      rank.exchange.add("all");
      return rank.exchange.reduce(setup.collectives[index]!, { step: 1, bucket: 0, signal: aborting.signal });
    });
    for (const step of steps) await expect(step).rejects.toThrow("generation 3 is formed");
  });

  test("names the rank that is lost while others compute", async () => {
    const setup = await createRanks(2, layoutOf(createRandom(7, "layout"), 5), 4);
    const [rank] = setup.ranks;
    await setup.form();
    begin(rank!, 1);
    rank!.write(0);
    await setup.reducers.lose(1);
    rank!.exchange.add("all");
    await expect(rank!.exchange.reduce(setup.collectives[0]!, { step: 1, bucket: 0, signal })).rejects.toMatchObject({
      code: "collective_failed",
      message: expect.stringContaining("rank 1") as string,
    });
  });

  test("is not used where one rank can't, and all ranks say why", async () => {
    const layout = layoutOf(createRandom(8, "layout"), 5);
    const setup = await createRanks(2, layout, 4);
    const endpoints = setup.world.endpoints.map(({ address }) => address);
    const collectives = await setup.world.form(9);
    await Promise.all(
      setup.ranks.map(({ exchange, ready }, rank) => {
        const membership = { jobId: "job", generation: 9, rank, endpoints };
        const formed = { collective: collectives[rank]!, membership, ready: rank === 1 ? undefined : ready };
        return exchange.form!(formed, { step: 0, bucket: 0, signal });
      }),
    );
    const why = ", when the backward pass is over: rank 1: what computes there gives no gradient before";
    expect(setup.ranks.map(({ exchange }) => exchange.how)).toEqual([why, why]);
    await Promise.all(
      setup.ranks.map(async (rank, index) => {
        begin(rank, 1);
        rank.exchange.gradients.set(rank.own);
        rank.exchange.add("all");
        const stats = await rank.exchange.reduce(collectives[index]!, { step: 1, bucket: 0, signal });
        expect(stats.buckets).toBeUndefined();
      }),
    );
    const [a, b] = setup.ranks.map(({ own }) => own);
    expect(setup.ranks[1]!.exchange.gradients).toEqual(a!.map((value, i) => value + b![i]!));
  });
});

test("whoever asks a reducer whose thread has ended is told, and need not wait", async () => {
  const client = createClient(() => undefined);
  client.hear({ kind: "opened", address: "tcp://127.0.0.1:1" });
  await client.address;
  client.hear({ kind: "failed", error: { code: "internal", message: "the thread has ended" } });
  const order = { step: 1, buckets: [] };
  for (let time = 0; time < 2; time++) await expect(client.reduce(order)).rejects.toThrow("the thread has ended");
});
