// Real processes that sum over real ZeroMQ on TCP: the sums, a killed neighbour, and the generation after it.

import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { defaultRingOptions } from "../../worker/collective/endpoint.ts";
import type { Reach } from "../../worker/collective/address.ts";
import { all, digestsOf, formRing, RankProcess } from "../support/collective-process.ts";
import type { Order } from "../support/collective-worker.ts";

const reaches: readonly Reach[] = ["tcp", "ipc", "memory"];
const started: RankProcess[] = [];

async function startRanks(count: number, reach: Reach): Promise<RankProcess[]> {
  const ranks = Array.from({ length: count }, () => new RankProcess(reach));
  started.push(...ranks);
  await Promise.all(ranks.map((rank) => rank.ready()));
  return ranks;
}

afterEach(() => {
  for (const { child } of started.splice(0)) child.kill("SIGKILL");
});

const worlds: [number, Reach][] = [2, 4].flatMap((world) => reaches.map((reach): [number, Reach] => [world, reach]));

test.each(worlds)("%i processes sum over %s, broadcast, and end by themselves", async (world, reach) => {
  const ranks = await startRanks(world, reach);
  await formRing(ranks, 1);
  const lengths = [0, 1, world - 1, world, world + 1, 100_003, 262_144 * world, 2_000_001, 5, 1_500_000];
  const sums = await all(ranks, { kind: "sum", lengths, firstStep: 1 });
  expect(sums).toMatchObject(ranks.map(() => ({ kind: "done" })));
  expect(digestsOf(sums).size).toBe(1);
  // Small buffers go from everybody to everybody, unless they lie in shared memory.
  const isDirect = (bytes: number): boolean => reach !== "memory" && bytes <= defaultRingOptions.directBytes;
  const total = lengths
    .map((length) => 4 * length)
    .reduce((sum, bytes) => sum + bytes * (isDirect(bytes) ? world * (world - 1) : 2 * (world - 1)), 0);
  const sent = sums.reduce((sum, answer) => sum + (answer.kind === "done" ? answer.bytesSent : 0), 0);
  expect(sent).toBe(total);
  for (let root = 0; root < world; root++) {
    const copies = await all(ranks, { kind: "broadcast", length: 3_000_001, root, step: 100 + root });
    expect(copies).toMatchObject(ranks.map(() => ({ kind: "done" })));
    expect(digestsOf(copies).size).toBe(1);
  }
  const ended = ranks.map((rank) => once(rank.child, "exit"));
  await all(ranks, { kind: "close" });
  for (const [code] of await Promise.all(ended)) expect(code).toBe(0);
});

test.each(reaches)(
  "a rank killed over %s is named at once, and the survivors go on in the next generation",
  async (reach) => {
    const ranks = await startRanks(3, reach);
    await formRing(ranks, 1);
    await all(ranks, { kind: "sum", lengths: [1000], firstStep: 1 });
    const [first, second, victim] = ranks as [RankProcess, RankProcess, RankProcess];
    const abandon: Order = { kind: "abandon", length: 900_000, step: 2, afterMs: 150_000 };
    const named = second.obey(abandon);
    victim.child.kill("SIGKILL");
    const answer = await named;
    expect(answer).toMatchObject({ kind: "failed" });
    expect(JSON.stringify(answer)).toMatch(
      /rank 1 of generation 1: lost the connection to rank 2 \(tcp:\/\/127.0.0.1:\d+: disconnected\)/,
    );
    await formRing([first, second], 2);
    const sums = await all([first, second], { kind: "sum", lengths: [10, 700_000], firstStep: 2 });
    expect(sums).toMatchObject([{ kind: "done" }, { kind: "done" }]);
    expect(digestsOf(sums).size).toBe(1);
  },
);

test.each(reaches)("a step abandoned over %s does not reach the sums of the next generation", async (reach) => {
  const ranks = await startRanks(2, reach);
  await formRing(ranks, 1);
  // Rank 1 never calls, so rank 0 fills the window and then gives up.
  const abandoned = await ranks[0]!.obey({ kind: "abandon", length: 3_000_000, step: 1, afterMs: 50 });
  expect(abandoned).toMatchObject({ kind: "failed", message: expect.stringMatching(/timeout/) as string });
  for (let generation = 2; generation < 6; generation++) {
    await formRing(ranks, generation);
    const sums = await all(ranks, { kind: "sum", lengths: [900_000, 3], firstStep: 1 });
    expect(sums).toMatchObject([{ kind: "done" }, { kind: "done" }]);
  }
});
