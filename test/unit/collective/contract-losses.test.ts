// What every transport must keep: a rank that is lost is named, at once, and what a generation leaves behind reaches no other.

import { describe, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { call, turn, worlds } from "../../support/collective-contract.ts";
import { formWorld, transportKinds } from "../../support/collective-world.ts";

describe.each(transportKinds)("%s", (kind) => {
  test("a rank that is lost at any moment is named by one that misses it, and the news ends the call of the others at once", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const random = createRandom(seed, "loss");
      const n = 2 + random.integer(4);
      const lost = random.integer(n);
      const world = await formWorld(n, { seed, kind, segmentBytes: 64, windowSegments: 2 });
      worlds.push(world);
      await Promise.all(world.collectives.map((collective) => collective.barrier(call(1))));
      const news = new AbortController();
      const buffers = world.collectives.map(() => new Float32Array(40_000).fill(1));
      // One survivor comes to the call only after the loss, so the call can't be over before; the lost rank may have come.
      const held = (lost + 1) % n;
      const begin = (rank: number): Promise<unknown> =>
        world.collectives[rank]!.allReduce(buffers[rank]!, call(2, news.signal)).then(
          () => undefined,
          (error: unknown) => error,
        );
      const outcomes = world.collectives.map((_, rank) =>
        rank === held || (rank === lost && random.integer(2) === 0) ? Promise.resolve<unknown>(undefined) : begin(rank),
      );
      for (let turns = random.integer(6); turns > 0; turns--) await turn();
      await world.lose(lost);
      outcomes[held] = begin(held);
      const survivors = outcomes.filter((_, rank) => rank !== lost);
      const first = await Promise.race(survivors);
      expect((first as Error).message).toMatch(new RegExp(`lost the connection to rank ${lost} `));
      news.abort("told by the coordinator");
      await turn();
      const late = Symbol("late");
      for (const outcome of survivors) {
        const error = await Promise.race([outcome, turn().then(() => late)]);
        expect(error).not.toBe(late);
        expect(error === "told by the coordinator" || error instanceof Error).toBe(true);
      }
      await Promise.all(worlds.splice(0).map((each) => each.close()));
    }
  });

  test("the next generation sums right whatever the last one left behind", async () => {
    let buffers: Float32Array[] = [];
    const world = await formWorld(4, {
      ...{ seed: 5, kind, segmentBytes: 1024, windowSegments: 2 },
      prepare: (endpoints) => (buffers = endpoints.map((endpoint) => endpoint.allocate(5000))),
    });
    worlds.push(world);
    for (let generation = 2; generation < 6; generation++) {
      const abandoned = world.collectives.map((collective, rank) =>
        rank === 3 ? Promise.resolve() : collective.allReduce(buffers[rank]!, call(1)),
      );
      for (const each of abandoned) each.catch(() => undefined); // cut short
      const size = 2 + (generation % 3);
      const next = await world.form(generation, size);
      next.forEach((_, rank) => buffers[rank]!.forEach((_, i, all) => (all[i] = i * (rank + 1))));
      await Promise.all(next.map((collective, rank) => collective.allReduce(buffers[rank]!, call(1))));
      const factor = (size * (size + 1)) / 2;
      for (const buffer of buffers.slice(0, size)) expect(buffer.every((sum, i) => sum === i * factor)).toBe(true);
      await Promise.allSettled(abandoned.slice(0, size));
    }
  });
});
