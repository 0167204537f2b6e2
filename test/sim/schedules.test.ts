// `make test-sim`: the core in simulated clusters, under seeded schedules of faults, with every invariant looked at after
// every event. RINGTUNE_SIM_SEED=CAMPAIGN:SEED runs one schedule alone and prints its history.

import { afterAll, expect, test } from "vitest";
import { campaigns, type Campaign } from "./campaigns.ts";
import { history, simulate } from "./cluster/schedule.ts";
import { faultNames } from "./cluster/faults.ts";
import { invariantNames } from "./cluster/invariants.ts";
import { count, createTally, describe, type Tally } from "./report.ts";

const SCHEDULES = Number(process.env["RINGTUNE_SIM_SCHEDULES"] ?? 10_000);
const [only, onlySeed] = process.env["RINGTUNE_SIM_SEED"]?.split(":") ?? [];
/** Lines of history that a failure shows. */
const LAST = 60;

const tallies = new Map<string, Tally>();
const begin = performance.now();

for (const [name, campaign] of Object.entries(campaigns)) {
  test.runIf(only === undefined || only === name)(campaign.claim, { timeout: 1_200_000 }, async () => {
    const tally = createTally();
    tallies.set(name, tally);
    const seeds = onlySeed === undefined ? range(Math.round(SCHEDULES * campaign.share)) : [Number(onlySeed)];
    if (onlySeed !== undefined) console.log((await history(campaign.schedule(Number(onlySeed)))).join("\n"));
    for (const seed of seeds) await runOne(name, campaign, seed, tally);
  });
}

test.runIf(only === undefined)("every fault took effect and every invariant was looked at, often", () => {
  const total = (of: (tally: Tally) => Record<string, number>, name: string): number =>
    [...tallies.values()].reduce((sum, tally) => sum + (of(tally)[name] ?? 0), 0);
  for (const name of faultNames) {
    expect(
      total(({ fired }) => fired, name),
      name,
    ).toBeGreaterThan(SCHEDULES / 200);
  }
  for (const name of invariantNames) {
    expect(
      total(({ checked }) => checked, name),
      name,
    ).toBeGreaterThanOrEqual(SCHEDULES / 2);
  }
});

test("the same seed gives the same history, line by line", async () => {
  for (const campaign of Object.values(campaigns)) {
    expect(await history(campaign.schedule(7))).toEqual(await history(campaign.schedule(7)));
  }
});

afterAll(() => {
  if (onlySeed === undefined) console.log(describe(tallies, (performance.now() - begin) / 1000));
});

async function runOne(name: string, campaign: Campaign, seed: number, tally: Tally): Promise<void> {
  const schedule = campaign.schedule(seed);
  const blame = async (sentence: string): Promise<Error> => {
    const again = `RINGTUNE_SIM_SEED=${name}:${seed} make test-sim`;
    return new Error([`${sentence}\nagain: ${again}`, ...(await history(schedule)).slice(-LAST)].join("\n"));
  };
  let result;
  try {
    result = await simulate(schedule);
  } catch (error) {
    throw await blame((error as Error).message);
  }
  count(tally, result);
  const fault = campaign.fault(schedule, result);
  if (fault !== undefined) throw await blame(fault);
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i + 1);
}
