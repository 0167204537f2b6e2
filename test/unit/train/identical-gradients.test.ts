// The sum of gradients that must not depend on who adds what when: over every transport, any number of ranks, any division
// of the microbatches and any order, against exact arithmetic.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { createRandom } from "../../../common/random.ts";
import { createIdenticalGradients } from "../../../worker/train/identical-gradients.ts";
import { formWorld, type TransportKind } from "../../support/collective-world.ts";

const call = { step: 1, bucket: 0, signal: new AbortController().signal };

/** Of microbatch `index`: values of very different sizes. */
function gradientOf(seed: number, index: number, length: number, scale: number): Float32Array {
  const random = createRandom(seed, `microbatch ${index}`);
  return Float32Array.from({ length }, () => random.normal() * 10 ** -random.integer(9) * scale);
}

/** The reduced gradient of each rank, when rank r computes the microbatches of `division[r]` in that order. */
async function reduce(
  division: readonly (readonly number[])[],
  { seed, length, scale, kind }: { seed: number; length: number; scale: number; kind: TransportKind },
): Promise<Float32Array[]> {
  const ranks: { gradients: Float32Array; sum: ReturnType<typeof createIdenticalGradients> }[] = [];
  const world = await formWorld(division.length, {
    ...{ seed, kind, segmentBytes: 1024, windowSegments: 2 },
    prepare: (endpoints) => {
      for (const endpoint of endpoints) {
        const gradients = new Float32Array(length);
        ranks.push({ gradients, sum: createIdenticalGradients(gradients, endpoint) });
      }
    },
  });
  const microbatches = division.flat().length;
  try {
    return await Promise.all(
      division.map(async (mine, rank) => {
        const { gradients, sum } = ranks[rank]!;
        sum.begin({ step: 1, microbatches, scale });
        for (const index of mine) {
          gradients.set(gradientOf(seed, index, length, scale));
          sum.add(`microbatch ${index}`);
        }
        await sum.reduce(world.collectives[rank]!, call);
        return gradients;
      }),
    );
  } finally {
    await world.close();
  }
}

const bits = (values: Float32Array): string =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("hex");

describe.each<[TransportKind, number]>([
  ["in process", 25],
  ["in process, shared memory", 25],
  ["tcp", 4],
  ["ipc, shared memory", 4],
])("%s", (kind, numRuns) => {
  test("any division and order over 1 to 8 ranks has the bits of one rank in order", async () => {
    const given = fc.record({
      seed: fc.nat(1e6),
      length: fc.oneof(fc.constantFrom(1, 2, 15, 16, 17, 2047, 2048, 2049), fc.integer({ min: 1, max: 5000 })),
      scale: fc.constantFrom(1, 65536),
      ranks: fc.integer({ min: 1, max: 8 }),
      owners: fc.array(fc.nat(), { minLength: 1, maxLength: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(given, async ({ seed, length, scale, ranks, owners }) => {
        const all = owners.map((_, index) => index);
        const random = createRandom(seed, "order");
        const shuffled = all.map((index) => ({ index, at: random.integer(1e6) })).sort((a, b) => a.at - b.at);
        const division = Array.from({ length: ranks }, (_, rank) =>
          shuffled.flatMap(({ index }) => (owners[index]! % ranks === rank ? index : [])),
        );
        const [alone] = await reduce([all], { seed, length, scale, kind: "in process" });
        const together = await reduce(division, { seed, length, scale, kind });
        for (const each of together) expect(bits(each)).toBe(bits(alone!));
        // And it is the sum: every microbatch is rounded by half a step of 2^-48 at most, and the sum to float32.
        const parts = all.map((index) => gradientOf(seed, index, length, scale));
        for (let i = 0; i < length; i++) {
          const sum = parts.reduce((so, part) => so + part[i]!, 0);
          const tolerance = parts.length * scale * 2 ** -49 + Math.abs(sum) * 2 ** -24;
          expect(Math.abs(alone![i]! - sum)).toBeLessThanOrEqual(tolerance);
        }
      }),
      { numRuns },
    );
  });
});

function alone(length: number) {
  const gradients = new Float32Array(length);
  return { gradients, sum: createIdenticalGradients(gradients, { allocate: (size) => new Float32Array(size) }) };
}

test("an element that a sum could not hold is refused, with the rows, both numbers and a way out", () => {
  const { gradients, sum } = alone(100);
  sum.begin({ step: 1, microbatches: 4, scale: 2 });
  gradients.fill(2 * 4096);
  sum.add("rows 0 to 3 of step 7");
  gradients[63] = -2 * 4097;
  let error: unknown;
  try {
    sum.add("rows 4 to 7 of step 7");
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(RingtuneError);
  expect((error as RingtuneError).code).toBe("not_finite");
  expect((error as RingtuneError).message).toBe(
    "the gradient of rows 4 to 7 of step 7 has an element of 4.10e+3, and train.bit_identical sums elements up to 4.10e+3; " +
      "lower train.learning_rate, lengthen the warmup, or train without train.bit_identical",
  );
});

test("as many of the largest elements as there are microbatches do not overflow", async () => {
  const { gradients, sum } = alone(3);
  const [collective] = await formWorld(1, { seed: 1 }).then(({ collectives }) => collectives);
  sum.begin({ step: 1, microbatches: 1000, scale: 1 });
  for (let i = 0; i < 1000; i++) {
    gradients.set([16.384, -16.384, 0]);
    sum.add("");
  }
  await sum.reduce(collective!, call);
  expect([...gradients].map(Math.round)).toEqual([16384, -16384, 0]);
});

test("a gradient that is not finite is not finite on any rank, whoever had it", async () => {
  const ranks: ReturnType<typeof alone>[] = [];
  const world = await formWorld(3, {
    seed: 1,
    prepare: (endpoints) => endpoints.forEach((_, rank) => (ranks[rank] = alone(50))),
  });
  await Promise.all(
    ranks.map(async ({ gradients, sum }, rank) => {
      sum.begin({ step: 1, microbatches: 2, scale: 1 });
      if (rank < 2) {
        gradients.fill(1);
        if (rank === 1) gradients[49] = Infinity;
        sum.add("");
      }
      await sum.reduce(world.collectives[rank]!, call);
      expect(gradients.every(Number.isNaN)).toBe(true);
      // And the next step is as if nothing had been.
      sum.begin({ step: 1, microbatches: 1, scale: 1 });
      if (rank === 2) {
        gradients.fill(0.5);
        sum.add("");
      }
      await sum.reduce(world.collectives[rank]!, { ...call, step: 2 });
      expect(gradients.every((value) => value === 0.5)).toBe(true);
    }),
  );
  await world.close();
});
