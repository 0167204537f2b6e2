// Who has a region in common in a new generation, who fills it, and when it may stay.

import { expect, test } from "vitest";
import { planRegions, withoutTroubled, type Told } from "../../../worker/train/zero/plan-regions.ts";

const told = (region: string, members: number, more: Partial<Told> = {}): Told => ({
  ...{ holds: true, region, members, isPending: false },
  ...more,
});

test("a host whose workers are those that had its region keeps it; any other gets a new one", () => {
  const kept = (...all: readonly (Told | undefined)[]): boolean => planRegions([[...all.keys()]], all)[0]!.isKept;
  expect(kept(told("a", 2), told("a", 2))).toBe(true);
  expect(kept(told("", 1))).toBe(true);
  // One of three is gone, or was of another region, or comes new, or can't be read.
  expect(kept(told("a", 3), told("a", 3))).toBe(false);
  expect(kept(told("a", 2), told("b", 2))).toBe(false);
  expect(kept(told("a", 1), told("", 1))).toBe(false);
  expect(kept(told("", 1), told("", 1))).toBe(false);
  expect(kept(told("a", 2), undefined)).toBe(false);
  expect(kept(told("a", 2))).toBe(false);
  // Somebody has to finish an update, or has other weights.
  expect(kept(told("a", 2), told("a", 2, { isPending: true }))).toBe(false);
  expect(kept(told("a", 2), told("a", 2, { holds: false }))).toBe(false);
});

test("those that hold the state fill a region, and where nobody does the first of the host", () => {
  const topology = [
    [0, 2, 4],
    [1, 3],
  ];
  const none = { holds: false };
  const all = [told("", 1, none), told("", 1, none), told("a", 2), told("", 1, none), told("a", 2)];
  expect(planRegions(topology, all).map(({ fillers, isHeld }) => [isHeld, fillers])).toEqual([
    [true, [2, 4]],
    [false, [1]],
  ]);
});

test("ranks of a host of which one can't map the region are alone, and the others stay together", () => {
  const all = [told("a", 2), told("b", 2), told("a", 2), told("b", 2)];
  const groups = planRegions(
    [
      [0, 2],
      [1, 3],
    ],
    all,
  );
  const problems = [undefined, undefined, undefined, "no room"];
  const { groups: split, problem } = withoutTroubled(groups, all, problems);
  expect(problem).toBe("rank 3: no room");
  expect(split.map(({ ranks, isKept }) => [ranks, isKept])).toEqual([
    [[0, 2], true],
    [[1], false],
    [[3], false],
  ]);
});
