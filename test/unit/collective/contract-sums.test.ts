// What every transport must keep: the same sums as a float64 reference over the ranks, equal bits everywhere, at any world size
// and length, with ranks that come late.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRandom, type Random } from "../../../common/random.ts";
import { chunkOf } from "../../../worker/collective/chunks.ts";
import { bits, call, onAllRanks, runsOf, scenario, worlds } from "../../support/collective-contract.ts";
import { formWorld, transportKinds } from "../../support/collective-world.ts";

const normals = (random: Random, length: number): Float32Array => Float32Array.from({ length }, () => random.normal());
const inputOf = (seed: number, rank: number, index: number, length: number): Float32Array =>
  normals(createRandom(seed, `input ${rank} ${index}`), length);
const integersIn = (buffer: Float32Array): BigInt64Array =>
  new BigInt64Array(buffer.buffer, buffer.byteOffset, Math.floor(buffer.length / 2));
const wordsOf = (random: Random, length: number): BigInt64Array =>
  BigInt64Array.from({ length }, () => BigInt(random.integer(2 ** 31)) * BigInt(random.integer(2 ** 31)) * 3n);

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
      { numRuns: runsOf(kind) },
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
      { numRuns: runsOf(kind) },
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
      { numRuns: runsOf(kind) },
    );
  });

  test.each([
    [
      "integers that meet floats",
      new BigInt64Array(32),
      /expected .*(float32.* but .*int64|int64.* but .*float32).* came/,
    ],
    ["a buffer of another length", new Float32Array(96), /expected .*(256.* but .*384|384.* but .*256).* came/],
  ])("refused, and both are named: %s", async (_, other, named) => {
    const world = await formWorld(2, { seed: 1, kind });
    worlds.push(world);
    const [a, b] = world.collectives;
    const outcomes = [a!.allReduce(new Float32Array(64), call(1)), b!.allReduce(other, call(1))].map((outcome) =>
      outcome.then(() => "summed", String),
    );
    // Whoever is first to see it leaves, and the other hears of that.
    expect(await Promise.race(outcomes)).toMatch(named);
  });
});
