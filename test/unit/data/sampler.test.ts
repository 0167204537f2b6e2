import fc from "fast-check";
import { expect, test } from "vitest";
import { createSampler, evenlySpaced } from "../../../coordinator/data/sampler.ts";

function epochOf(sampler: ReturnType<typeof createSampler>, epoch: number): number[] {
  return Array.from({ length: sampler.sampleCount }, (_, i) => {
    const at = sampler.sampleAt(epoch * sampler.sampleCount + i);
    expect(at.epoch).toBe(epoch);
    return at.index;
  });
}

test("gives every sample exactly once in each epoch", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(), fc.nat({ max: 50 }), (sampleCount, seed, epoch) => {
      const indices = epochOf(createSampler({ sampleCount, seed }), epoch);
      expect(indices.sort((a, b) => a - b)).toEqual(Array.from({ length: sampleCount }, (_, i) => i));
    }),
  );
});

test("gives the same sample for a position in whatever order positions are asked", () => {
  const inOrder = createSampler({ sampleCount: 17, seed: 4 });
  const forward = Array.from({ length: 100 }, (_, position) => inOrder.sampleAt(position));
  const jumping = createSampler({ sampleCount: 17, seed: 4 });
  for (const position of [99, 3, 50, 98, 0, 20, 51, 2]) expect(jumping.sampleAt(position)).toEqual(forward[position]);
});

test("orders every epoch and every seed differently", () => {
  const sampler = createSampler({ sampleCount: 100, seed: 0 });
  const first = epochOf(sampler, 0);
  expect(first).not.toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect(epochOf(sampler, 1)).not.toEqual(first);
  expect(epochOf(createSampler({ sampleCount: 100, seed: 1 }), 0)).not.toEqual(first);
});

test("keeps its order from one version to the next: a resumed run depends on it", () => {
  expect(epochOf(createSampler({ sampleCount: 8, seed: 7 }), 3)).toMatchInlineSnapshot(`
    [
      1,
      7,
      4,
      3,
      6,
      5,
      2,
      0,
    ]
  `);
});

test("spaces validation samples evenly", () => {
  expect(evenlySpaced(10, 4)).toEqual([0, 2, 5, 7]);
  expect(evenlySpaced(3, 256)).toEqual([0, 1, 2]);
  expect(evenlySpaced(0, 256)).toEqual([]);
});
