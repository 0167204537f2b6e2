// The ring against an independent reference: a float64 sum over the ranks, on a network in memory that does not copy and
// delivers in a random order. Buffers are overwritten as soon as a call resolves, as the next step's gradients would.

import fc from "fast-check";
import { expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { formWorld } from "../../support/collective-world.ts";

const unaborted = (): AbortSignal => new AbortController().signal;

const worldSize = fc.integer({ min: 1, max: 8 });

/** 0, 1, n-1, n, n+1, around the segment size, and larger. */
const awkwardLength = (n: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constantFrom(0, 1, n - 1, n, n + 1, 16 * n - 1, 16 * n, 16 * n + 1), fc.integer({ min: 0, max: 1200 }));

const scenario = worldSize.chain((n) =>
  fc.record({
    n: fc.constant(n),
    lengths: fc.array(awkwardLength(n), { minLength: 1, maxLength: 3 }),
    seed: fc.integer({ min: 0, max: 2 ** 31 }),
    segmentBytes: fc.constantFrom(4, 64, 1000, 65536),
    windowSegments: fc.constantFrom(1, 2, 16),
  }),
);

function bits(buffer: Float32Array): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString("hex");
}

test("all ranks end with the float64 sum, bit-identical, at any world size and length", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ n, lengths, seed, segmentBytes, windowSegments }) => {
      const world = await formWorld(n, { seed, segmentBytes, windowSegments });
      const random = createRandom(seed, "values");
      const outcomes = await Promise.all(
        lengths.map((length, step) => {
          const inputs = world.collectives.map(() => Float32Array.from({ length }, () => random.normal()));
          const kept = inputs.map((input) => input.slice());
          return Promise.all(
            world.collectives.map(async (collective, rank) => {
              const input = inputs[rank]!;
              await collective.allReduce(input, { step, bucket: 0, signal: unaborted() });
              const result = input.slice();
              input.fill(Number.NaN);
              return result;
            }),
          ).then((results) => ({ kept, results, length }));
        }),
      );
      for (const { kept, results, length } of outcomes) {
        for (const result of results) expect(bits(result)).toBe(bits(results[0]!));
        for (let i = 0; i < length; i++) {
          const exact = kept.reduce((sum, input) => sum + input[i]!, 0);
          const scale = kept.reduce((sum, input) => sum + Math.abs(input[i]!), 0);
          expect(Math.abs(results[0]![i]! - exact)).toBeLessThanOrEqual(1e-6 * scale);
        }
      }
      await world.close();
    }),
    { numRuns: 40 },
  );
});

test("integers sum exactly", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ n, lengths, seed, segmentBytes, windowSegments }) => {
      const world = await formWorld(n, { seed, segmentBytes, windowSegments });
      for (const [step, length] of lengths.entries()) {
        const results = await Promise.all(
          world.collectives.map(async (collective, rank) => {
            const input = Float32Array.from({ length }, (_, i) => ((i * 7919 + step) % 1000) * (rank + 1));
            await collective.allReduce(input, { step, bucket: 0, signal: unaborted() });
            const result = input.slice();
            input.fill(-1);
            return result;
          }),
        );
        const expected = Float32Array.from({ length }, (_, i) => ((i * 7919 + step) % 1000) * ((n * (n + 1)) / 2));
        for (const result of results) expect(result).toEqual(expected);
      }
      await world.close();
    }),
    { numRuns: 25 },
  );
});

test("every rank ends with the bytes of the root, whoever the root is", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, fc.nat(), async ({ n, lengths, seed, segmentBytes, windowSegments }, pick) => {
      const world = await formWorld(n, { seed, segmentBytes, windowSegments });
      const root = pick % n;
      for (const [step, length] of lengths.entries()) {
        const results = await Promise.all(
          world.collectives.map(async (collective, rank) => {
            const input = Uint8Array.from({ length }, (_, i) => (i * 31 + rank * 101 + step) % 256);
            await collective.broadcast(input, root, { step, bucket: 1, signal: unaborted() });
            const result = input.slice();
            input.fill(0);
            return result;
          }),
        );
        const expected = Uint8Array.from({ length }, (_, i) => (i * 31 + root * 101 + step) % 256);
        for (const result of results) expect(Buffer.from(result).equals(Buffer.from(expected))).toBe(true);
      }
      await world.close();
    }),
    { numRuns: 25 },
  );
});

test("each rank sends 2(n-1)/n of the buffer", async () => {
  for (const n of [2, 4, 8]) {
    const world = await formWorld(n, { seed: n });
    const length = 1024 * n;
    const stats = await Promise.all(
      world.collectives.map((collective) =>
        collective.allReduce(new Float32Array(length), { step: 1, bucket: 0, signal: unaborted() }),
      ),
    );
    for (const { bytesSent } of stats) expect(bytesSent).toBe(((2 * (n - 1)) / n) * length * 4);
    await world.close();
  }
});
