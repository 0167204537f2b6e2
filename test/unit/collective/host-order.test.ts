// The order of hosts in a ring: found from the bandwidths, measured once, and the same on all ranks.

import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { decodeFrame } from "../../../proto/frame.ts";
import { orderHosts, slowestIn } from "../../../worker/collective/host-order.ts";
import { tournament } from "../../../worker/collective/measure-hosts.ts";
import { formWorld, type World } from "../../support/collective-world.ts";

const { signal } = new AbortController();
const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** A table of bandwidths between `count` hosts, alike both ways. */
function tableOf(count: number, between: (a: number, b: number) => number): number[][] {
  const hosts = Array.from({ length: count }, (_, host) => host);
  return hosts.map((a) => hosts.map((b) => (a === b ? 0 : between(Math.min(a, b), Math.max(a, b)))));
}

test("hosts of two racks that were named by turns are put together", () => {
  const racks = tableOf(6, (a, b) => (a % 2 === b % 2 ? 10 : 1));
  const order = orderHosts(racks);
  const crossings = order.filter((host, place) => host % 2 !== order[(place + 1) % 6]! % 2);
  expect(crossings).toHaveLength(2);
  // A difference that measurements may have is not worth another order.
  expect(orderHosts(tableOf(6, (a, b) => (a % 2 === b % 2 ? 10 : 9)))).toEqual([0, 1, 2, 3, 4, 5]);
});

test("a slow connection is left out of the ring", () => {
  const table = tableOf(5, (a, b) => (a === 1 && b === 2 ? 1 : 10));
  expect(slowestIn([0, 1, 2, 3, 4], table)).toBe(1);
  expect(slowestIn(orderHosts(table), table)).toBe(10);
});

test("the order is a permutation from host 0 on, and never has a slower connection than that of the ranks", () => {
  const count = fc.integer({ min: 1, max: 9 });
  const tables = count.chain((n) => fc.array(fc.double({ min: 1, max: 1000, noNaN: true }), { minLength: n * n, maxLength: n * n }).map((all) => tableOf(n, (a, b) => all[a * n + b]!))); // prettier-ignore
  fc.assert(
    fc.property(tables, (table) => {
      const given = table.map((_, host) => host);
      const order = orderHosts(table);
      expect(order[0]).toBe(0);
      expect([...order].sort((a, b) => a - b)).toEqual(given);
      if (table.length > 2) expect(slowestIn(order, table)).toBeGreaterThanOrEqual(slowestIn(given, table));
    }),
  );
});

test("every two hosts meet once, and nobody is in two pairs of a turn", () => {
  for (let count = 2; count <= 9; count++) {
    const turns = tournament(count);
    for (const pairs of turns) expect(new Set(pairs.flat()).size).toBe(2 * pairs.length);
    const met = turns.flat().map((pair) => pair.join());
    expect(new Set(met).size).toBe((count * (count - 1)) / 2);
    expect(met).toHaveLength((count * (count - 1)) / 2);
  }
});

/** A world in which a frame between the hosts `slow` takes the receiver's clock a thousand times as far as any other. */
async function formMeasured(hosts: readonly number[], slow: readonly [number, number]) {
  const clocks = hosts.map(() => 0);
  let exchanged = 0;
  const world = await formWorld(hosts.length, {
    ...{ seed: 1, kind: "in process, hosts", hosts, segmentBytes: 960, directBytes: 0 },
    clockOf: (rank) => () => clocks[rank]!,
    prepare: (endpoints, network) => {
      const ranks = new Map(endpoints.map(({ address }, rank) => [address, rank]));
      network.intercept = ({ address, parts, direction }) => {
        const decoded = decodeFrame(parts);
        if (direction === "back" || !decoded.ok || decoded.header.length === 0) return [parts];
        const [from, to] = [hosts[decoded.header.source]!, hosts[ranks.get(address)!]!];
        if ([2 * 960, 4 * 960].includes(decoded.header.total)) exchanged++;
        clocks[ranks.get(address)!]! += slow.includes(from) && slow.includes(to) ? 1000 : 1;
        return [parts];
      };
    },
  });
  worlds.push(world);
  return { world, exchanged: () => exchanged };
}

test("the ring avoids the slow connection, on all ranks alike, and the next generation measures nothing", async () => {
  const hosts = [0, 0, 1, 1, 2, 2, 3, 3];
  const { world, exchanged } = await formMeasured(hosts, [1, 2]);
  const sum = async (collectives: World["collectives"]): Promise<void> => {
    const buffers = collectives.map(({ rank }) => new Float32Array(1000).fill(rank));
    await Promise.all(collectives.map((each, rank) => each.allReduce(buffers[rank]!, { step: 1, bucket: 0, signal })));
    for (const buffer of buffers) expect(new Set(buffer)).toEqual(new Set([28]));
    for (const { path } of collectives) {
      expect(path).toBe("shared memory of 2 + 2 + 2 + 2 ranks, joined by 2 rings, in the measured order of the hosts");
    }
  };
  await sum(world.collectives);
  const before = exchanged();
  expect(before).toBe(6 * 2 * 3); // pairs, both ways, one segment and then two
  await sum(await world.form(2));
  expect(exchanged()).toBe(before);
});

test("two hosts have no order to find, and measure nothing", async () => {
  const { world, exchanged } = await formMeasured([0, 1, 0, 1], [0, 1]);
  await Promise.all(world.collectives.map((each) => each.barrier({ step: 1, bucket: 0, signal })));
  expect(exchanged()).toBe(0);
});
