// What every durable store promises, over every medium.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { createEtcd } from "../../../coordinator/durable/etcd/client.ts";
import { campaign } from "../../../coordinator/durable/etcd/election.ts";
import { createEtcdMedium } from "../../../coordinator/durable/etcd/medium.ts";
import { openLevelMedium } from "../../../coordinator/durable/level.ts";
import { createMemoryMedium } from "../../../coordinator/durable/memory.ts";
import { createDurableStore, type Medium } from "../../../coordinator/durable/store.ts";
import { hasEtcd, startEtcd, type EtcdCluster } from "../../support/etcd.ts";

/** Each gives a way to open the same contents again and again. */
let etcd: EtcdCluster | undefined;
let runs = 0;

const media: Record<string, () => Promise<() => Promise<Medium>>> = {
  async memory() {
    const contents = new Map<string, string>();
    return async () => createMemoryMedium({ contents });
  },
  async LevelDB() {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-test-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    return () => openLevelMedium(join(folder, "durable"));
  },
  async "etcd (package etcd-server)"() {
    etcd ??= await startEtcd();
    const { endpoints } = etcd;
    const prefix = `ringtune/run-${++runs}/`;
    return async () => {
      const client = createEtcd({ endpoints, prefix, attemptMs: 1000 });
      const patience = { limitMs: 10_000, notice: () => undefined, signal: new AbortController().signal };
      const pulse = { host: "127.0.0.1", port: 1, name: "nobody" };
      const candidate = { address: "127.0.0.1:7447", host: "here", pid: 1, pulse };
      const leader = await campaign({ etcd: client, candidate, leaseSeconds: 2, patience, onLeader: () => undefined });
      const medium = createEtcdMedium(client, leader, patience);
      return { ...medium, close: () => leader.resign().finally(() => client.close()) };
    };
  },
};

afterAll(() => etcd?.stop());

for (const [name, prepare] of Object.entries(media))
  describe.skipIf(name.startsWith("etcd") && !hasEtcd)(`a durable store in ${name}`, () => {
    test("has nothing before the first append", async () => {
      const open = await prepare();
      const store = createDurableStore(await open());
      expect(await store.load()).toBeUndefined();
      await store.close();
    });

    test("gives back every fact at its last value, after it was closed and opened again", async () => {
      const open = await prepare();
      const first = createDurableStore(await open());
      await first.load();
      await first.append({ committed: 1, members: ["w0", "w1"], stopping: null });
      await first.append({ committed: 2 });
      await first.close();
      const second = createDurableStore(await open());
      expect(await second.load()).toEqual({ committed: 2, members: ["w0", "w1"], stopping: null });
      await second.append({ stopping: "enough" });
      await second.close();
      const third = createDurableStore(await open());
      expect(await third.load()).toEqual({ committed: 2, members: ["w0", "w1"], stopping: "enough" });
      await third.close();
    });

    test("keeps numbers that JSON lacks, and any text", async () => {
      const open = await prepare();
      const facts = {
        best: { perplexity: Infinity },
        losses: [NaN, -Infinity, 1e-300],
        reason: "w\u00f6rker \u0000 \n \ud83d\ude00 lost",
      };
      const first = createDurableStore(await open());
      await first.load();
      await first.append(facts);
      await first.close();
      const second = createDurableStore(await open());
      expect(await second.load()).toEqual(facts);
      await second.close();
    });

    test("writes what waits for the same write as one entry, in the order of the calls", async () => {
      const open = await prepare();
      const medium = await open();
      const entries: number[] = [];
      const store = createDurableStore({
        ...medium,
        write: async (values) => {
          entries.push(values.size - 1);
          await medium.write(values);
        },
      });
      await store.load();
      const done: string[] = [];
      const told = (name: string) => (): number => done.push(name);
      const calls = [store.append({ a: 1 }).then(told("first")), store.append({ a: 2, b: 2 }).then(told("second"))];
      await Promise.resolve();
      await Promise.resolve();
      calls.push(store.append({ c: 3 }).then(told("third")), store.append({ c: 4 }).then(told("fourth")));
      await Promise.all(calls);
      expect(done).toEqual(["first", "second", "third", "fourth"]);
      expect(entries).toEqual([2, 1]);
      await store.close();
      const again = createDurableStore(await open());
      expect(await again.load()).toEqual({ a: 2, b: 2, c: 4 });
      await again.close();
    });

    test("writes what was appended before close, and refuses what comes after", async () => {
      const open = await prepare();
      const store = createDurableStore(await open());
      await store.load();
      const appended = store.append({ committed: 7 });
      await store.close();
      await appended;
      await expect(store.append({ committed: 8 })).rejects.toMatchObject({ code: "cancelled" });
      const again = createDurableStore(await open());
      expect(await again.load()).toEqual({ committed: 7 });
      await again.close();
    });

    test("names a lost entry with both numbers", async () => {
      const open = await prepare();
      const medium = await open();
      const store = createDurableStore(medium);
      await store.load();
      await store.append({ generation: 1, committed: 1 });
      const before = (await medium.readAll()).get("fact/committed")!;
      await store.append({ committed: 2 });
      await store.append({ generation: 2 });
      await medium.write(new Map([["fact/committed", before]]));
      const sentence = "committed was last written by entry 2, and what is there is of entry 1";
      await expect(createDurableStore(medium).load()).rejects.toMatchObject({
        code: "checkpoint_invalid",
        message: expect.stringContaining(sentence) as string,
      });
      await store.close();
    });

    test("names a damaged value with both checksums, and a head that is gone", async () => {
      const open = await prepare();
      const medium = await open();
      const store = createDurableStore(medium);
      await store.load();
      await store.append({ committed: 41 });
      const whole = (await medium.readAll()).get("fact/committed")!;
      await medium.write(new Map([["fact/committed", whole.replace("41", "43")]]));
      await expect(createDurableStore(medium).load()).rejects.toMatchObject({
        code: "checkpoint_invalid",
        message: expect.stringMatching(
          /the checksum of fact\/committed is [0-9a-f]{8}, its bytes give [0-9a-f]{8}$/,
        ) as string,
      });
      await medium.write(new Map([["head", "nonsense"]]));
      await expect(createDurableStore(medium).load()).rejects.toThrow('head is no entry: it begins with "nonsense"');
      await store.close();
    });
  });
