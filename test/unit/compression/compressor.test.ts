// Compressed sums over real ranks of this process: what the definition of error feedback promises, for every method, over every
// kind of path.

import { expect, onTestFinished, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createCompressor, type Compressor } from "../../../worker/compression/compressor.ts";
import { orthonormalise } from "../../../worker/compression/power-sgd.ts";
import { createLayout } from "../../../worker/model/parameters.ts";
import { formWorld, type TransportKind, type World } from "../../support/collective-world.ts";

type Settings = Parameters<typeof createCompressor>[0];

const methods: readonly Settings[] = [
  { method: "bf16" },
  { method: "fp16" },
  { method: "int8" },
  { method: "topk", share: 0.05 },
  { method: "powersgd", rank: 2 },
];
const layout = createLayout([
  { name: "wide", shape: [40, 70] },
  { name: "tall", shape: [90, 3, 5] },
  { name: "small", shape: [3, 2] },
  { name: "vector", shape: [37] },
]);
const signal = new AbortController().signal;

interface Ranks extends World {
  readonly compressors: readonly Compressor[];
  /** Every rank's own gradients of a step, and what `reduce` made of them. */
  step(step: number, options?: { commits?: boolean; scale?: number; spoil?: (rank: number, gradients: Float32Array) => void }): Promise<{ given: Float32Array[]; sums: Float32Array[]; bytes: number[] }>; // prettier-ignore
}

async function ranks(size: number, settings: Settings, kind: TransportKind = "in process"): Promise<Ranks> {
  let compressors: Compressor[] = [];
  const world = await formWorld(size, {
    // However small buffers are, the bytes are those of large ones.
    ...{ seed: 1, kind, directBytes: 0 },
    prepare: (endpoints) => (compressors = endpoints.map((endpoint) => createCompressor(settings, layout, endpoint))),
  });
  onTestFinished(() => world.close());
  return Object.assign(world, {
    compressors,
    async step(
      step: number,
      { commits = true, scale = 1, spoil = () => undefined }: Parameters<Ranks["step"]>[1] = {},
    ) {
      const given = world.collectives.map((_, rank) => gradientsOf(step, rank));
      given.forEach((gradients, rank) => spoil(rank, gradients));
      const sums = given.map((gradients) => gradients.map((value) => value * scale));
      const stats = await Promise.all(
        compressors.map((compressor, rank) =>
          compressor.reduce(sums[rank]!, scale, world.collectives[rank]!, { step, bucket: 0, signal }),
        ),
      );
      const isFinite = sums[0]!.every(Number.isFinite);
      if (commits) for (const compressor of compressors) compressor.commit(isFinite);
      return {
        given,
        sums: sums.map((sum) => sum.map((value) => value / scale)),
        bytes: stats.map((each) => each.bytesSent),
      };
    },
  });
}

/** Of the size and the spread that gradients have: a common direction, and noise. */
function gradientsOf(step: number, rank: number): Float32Array {
  const [common, own] = [createRandom(step, "common"), createRandom(step * 100 + rank, "own")];
  return Float32Array.from({ length: layout.size }, (_, i) => 1e-3 * 4 ** -(i % 5) * (common.normal() + own.normal()));
}

function add(total: Float64Array, values: Float32Array): void {
  values.forEach((value, i) => (total[i]! += value));
}

const normOf = (values: Float64Array | Float32Array): number =>
  Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));

test.each(methods)(
  "$method gives every rank the same bits, near the sum, in the bytes that it states",
  async (settings) => {
    for (const [size, kind] of [
      [2, "in process"],
      [3, "in process"],
      [2, "in process, shared memory"],
    ] as const) {
      const world = await ranks(size, settings, kind);
      const { given, sums, bytes } = await world.step(1);
      for (const sum of sums) expect(Buffer.from(sum.buffer).equals(Buffer.from(sums[0]!.buffer))).toBe(true);
      const exact = new Float64Array(layout.size);
      given.forEach((gradients) => add(exact, gradients));
      const missing = exact.map((value, i) => value - sums[0]![i]!);
      const share = { bf16: 0.004, fp16: 0.001, int8: 0.06, topk: 0.9, powersgd: 0.98 }[settings.method];
      expect(normOf(missing)).toBeLessThan(share * normOf(exact));
      const stated = world.compressors[0]!.bytesPerStep(size);
      expect(bytes.reduce((sum, each) => sum + each, 0)).toBeCloseTo(size * stated, 6);
    }
  },
);

test.each(methods)(
  "with $method nothing is lost: sums of updates are sums of gradients, but for the last errors",
  async (settings) => {
    const world = await ranks(2, settings);
    const [exact, updates] = [new Float64Array(layout.size), new Float64Array(layout.size)];
    const missingAfter: number[] = [];
    for (let step = 1; step <= 40; step++) {
      const { given, sums } = await world.step(step, { scale: 2 ** (step % 3) });
      given.forEach((gradients) => add(exact, gradients));
      add(updates, sums[0]!);
      missingAfter.push(normOf(exact.map((value, i) => value - updates[i]!)));
    }
    // One rank alone has nobody to send to, and makes good what is missing.
    const alone = await world.form(2, 1);
    const errors = new Float64Array(layout.size);
    for (const compressor of world.compressors) {
      const flushed = new Float32Array(layout.size);
      await compressor.reduce(flushed, 4, alone[0]!, { step: 41, bucket: 0, signal });
      add(
        errors,
        flushed.map((value) => value / 4),
      );
    }
    const rest = exact.map((value, i) => value - updates[i]! - errors[i]!);
    // Sums of halves are rounded by nobody's error: 2^-9 and 2^-12 of each.
    const unseen = { bf16: 2e-3, fp16: 2.5e-4, int8: 1e-5, topk: 1e-5, powersgd: 1e-5 }[settings.method];
    expect(normOf(rest)).toBeLessThan(unseen * normOf(exact) * 3);
    // Errors stay bounded instead of adding up.
    const bound = { bf16: 0.2, fp16: 0.2, int8: 0.5, topk: 12, powersgd: 16 }[settings.method];
    expect(Math.max(...missingAfter.slice(20))).toBeLessThan(bound * normOf(gradientsOf(1, 0)));
  },
);

test.each(methods)("a step that is not committed leaves the errors of $method as they were", async (settings) => {
  const [once, twice] = [await ranks(2, settings), await ranks(2, settings)];
  for (const world of [once, twice]) await world.step(1);
  await twice.step(2, { commits: false });
  const [expected, found] = [await once.step(2), await twice.step(2)];
  expect(found.sums[0]).toEqual(expected.sums[0]);
  const [after, again] = [await once.step(3), await twice.step(3)];
  expect(again.sums[0]).toEqual(after.sums[0]);
});

test.each(methods)("what is not finite on one rank is found on all with $method, and is no error", async (settings) => {
  for (const value of [Number.NaN, Infinity]) {
    const world = await ranks(3, settings);
    await world.step(1);
    const spoil = (rank: number, gradients: Float32Array): void => void (rank === 1 && (gradients[77] = value));
    const { sums } = await world.step(2, { spoil });
    for (const sum of sums) expect(sum.every(Number.isFinite)).toBe(false);
    const { sums: later } = await world.step(3);
    expect(later[0]!.every(Number.isFinite)).toBe(true);
  }
});

test("PowerSGD finds a gradient of its rank, and forgets no direction that was 0 once", async () => {
  const world = await ranks(2, { method: "powersgd", rank: 2 });
  const lowRank = (rank: number, gradients: Float32Array): void => {
    gradients.fill(0);
    for (let i = 0; i < 40; i++) for (let j = 0; j < 70; j++) gradients[i * 70 + j] = (i + 1) * Math.sin(j + rank);
  };
  await world.step(1, { spoil: (_, gradients) => void gradients.fill(0) });
  for (let step = 2; step < 5; step++) await world.step(step, { spoil: lowRank });
  const { given, sums } = await world.step(5, { spoil: lowRank });
  const exact = new Float64Array(layout.size);
  given.forEach((gradients) => add(exact, gradients));
  expect(normOf(exact.map((value, i) => value - sums[0]![i]!))).toBeLessThan(1e-3 * normOf(exact));
});

test("orthonormal columns are, and one that depends on the others becomes 0", () => {
  const random = createRandom(3, "columns");
  const p = Float32Array.from({ length: 200 * 3 }, () => random.normal());
  for (let row = 0; row < 200; row++) p[3 * row + 2] = p[3 * row]! - 2 * p[3 * row + 1]!;
  orthonormalise(p, 3);
  const dot = (a: number, b: number): number => {
    let sum = 0;
    for (let row = 0; row < 200; row++) sum += p[3 * row + a]! * p[3 * row + b]!;
    return sum;
  };
  expect(dot(0, 0)).toBeCloseTo(1, 6);
  expect(dot(1, 1)).toBeCloseTo(1, 6);
  expect(dot(0, 1)).toBeCloseTo(0, 6);
  expect(dot(2, 2)).toBe(0);
});
