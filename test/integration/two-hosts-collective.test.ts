// Two ranks on each of two hosts, over a slow cable and a delay: the sums, what goes over the cable, and a lost host.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { all, digestsOf, formRing, RankProcess } from "../support/collective-process.ts";
import { openLongCable } from "../support/long-cable.ts";
import { noSlowCable } from "../support/network-namespace.ts";

const proxy = pathToFileURL(join(packageRoot, "dist/test/support/delay-proxy.js"));

describe.skipIf(noSlowCable !== undefined)(`with a slow cable (${noSlowCable ?? "tc tbf"})`, () => {
  test("ranks of two hosts sum in memory and over the cable, and a host that is lost is named", async () => {
    const cable = await openLongCable(proxy, { rate: "1gbit", delayMs: 5, ranksPerHost: 2 });
    onTestFinished(() => cable.close());
    const ranks = cable.places.map((place) => new RankProcess("memory", place));
    onTestFinished(() => ranks.forEach(({ child }) => child.kill("SIGKILL")));
    await Promise.all(ranks.map((rank) => rank.ready()));
    await Promise.all(
      ranks.map(async (rank, index) => (rank.address = await cable.places[index]!.reachedBy!(rank.address))),
    );
    await formRing(ranks, 1);
    const lengths = [0, 1, 5, 100_003, 1_000_000, 3];
    const before = cable.sentBytes();
    const sums = await all(ranks, { kind: "sum", lengths, firstStep: 1 });
    expect(sums).toMatchObject(ranks.map(() => ({ kind: "done" })));
    expect(digestsOf(sums).size).toBe(1);
    // Each host sends a buffer once, where a ring over ranks that alternate between the hosts would send three times as much.
    const payload = lengths.reduce((total, length) => total + 4 * length, 0);
    const sent = cable.sentBytes() - before;
    expect(sent).toBeGreaterThan(payload);
    expect(sent).toBeLessThan(1.2 * payload);

    const [first, second, third, victim] = ranks as [RankProcess, RankProcess, RankProcess, RankProcess];
    const named = [first, second, third].map((rank) =>
      rank.obey({ kind: "abandon", length: 900_000, step: 20, afterMs: 150_000 }),
    );
    victim.child.kill("SIGKILL");
    const answer = await Promise.race(named);
    expect(JSON.stringify(answer)).toMatch(/lost the connection to rank 3 /);
    await Promise.all([first, second, third].map((rank) => rank.obey({ kind: "close" })));
    await Promise.allSettled(named);
  });
});
