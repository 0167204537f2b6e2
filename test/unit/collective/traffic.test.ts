// How much is sent, and to whom: what the schedules promise, counted.

import { expect, test } from "vitest";
import { decodeFrame } from "../../../proto/frame.ts";
import { call, onAllRanks, worlds } from "../../support/collective-contract.ts";
import { formWorld } from "../../support/collective-world.ts";

test("each rank moves 2(n-1)/n of the buffer", async () => {
  for (const kind of ["in process", "in process, shared memory"] as const) {
    for (const n of [2, 4, 8]) {
      const length = 1024 * n;
      const given = { n, lengths: [length], seed: n, allocated: true, directBytes: 0 };
      const moved = await onAllRanks(kind, given, async (rank) => {
        return (await rank.collective.allReduce(rank.buffers[0]!, call(1))).bytesSent;
      });
      for (const bytes of moved) expect(bytes).toBe(((2 * (n - 1)) / n) * length * 4);
    }
  }
});

test("each host sends 2(h-1)/h of the buffer to others, divided among its ranks", async () => {
  for (const [h, ranks] of [
    [2, 2],
    [2, 3],
    [3, 2],
  ] as const) {
    const n = h * ranks;
    const length = 1024 * n;
    const hosts = Array.from({ length: n }, (_, rank) => rank % h);
    const given = { n, lengths: [length], seed: n, allocated: true, directBytes: 0, hosts };
    const moved = await onAllRanks("in process, hosts", given, async (rank) => {
      return (await rank.collective.allReduce(rank.buffers[0]!, call(1))).bytesBetweenHosts;
    });
    for (const bytes of moved) expect(bytes).toBe((((2 * (h - 1)) / h) * length * 4) / ranks);
  }
});

test("a small buffer goes to everybody at once: each rank waits for one message from each, and for no other", async () => {
  const world = await formWorld(5, { seed: 3 });
  worlds.push(world);
  await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
  const kinds: string[] = [];
  world.network.intercept = ({ parts, direction }) => {
    const decoded = decodeFrame(parts);
    if (direction === "forward" && decoded.ok) kinds.push(`${decoded.header.kind} of ${decoded.header.source}`);
    return [parts];
  };
  const buffers = world.collectives.map(({ rank }) => new Float32Array(100).fill(rank));
  const stats = await Promise.all(
    world.collectives.map((collective, rank) => collective.allReduce(buffers[rank]!, call(2))),
  );
  for (const buffer of buffers) expect(new Set(buffer)).toEqual(new Set([10]));
  for (const { bytesSent } of stats) expect(bytesSent).toBe(4 * 400);
  const ranks = world.collectives.map(({ rank }) => rank);
  expect(kinds.sort()).toEqual(ranks.flatMap((rank) => Array<string>(4).fill(`exchange of ${rank}`)));
});
