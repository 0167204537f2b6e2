// Leader election and the fenced store on a real etcd.

import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { createEtcd, type Etcd } from "../../../coordinator/durable/etcd/client.ts";
import { campaign, type Candidate, type Leadership } from "../../../coordinator/durable/etcd/election.ts";
import { createEtcdMedium } from "../../../coordinator/durable/etcd/medium.ts";
import { createDurableStore } from "../../../coordinator/durable/store.ts";
import { RingtuneError } from "../../../common/errors.ts";
import { hasEtcd, startEtcd, type EtcdCluster } from "../../support/etcd.ts";

const candidate = (port: number): Candidate => {
  const pulse = { host: "127.0.0.1", port: 1, name: "nobody" };
  return { address: `127.0.0.1:${port}`, host: "here", pid: port, pulse };
};
/** However slow the machine is. */
const eventually = <T>(callback: () => T | Promise<T>): Promise<T> => vi.waitFor(callback, { timeout: 120_000 });
const never = new AbortController().signal;

describe.skipIf(!hasEtcd)("several coordinators on etcd (package etcd-server)", () => {
  let cluster: EtcdCluster;
  let clients: Etcd[] = [];
  let leaders: Leadership[] = [];
  let notices: string[] = [];
  let run = "";
  let runs = 0;

  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.stop());
  beforeEach(() => {
    run = `ringtune/run-${++runs}/`;
  });
  afterEach(async () => {
    await Promise.all(leaders.map((leader) => leader.resign()));
    clients.forEach((client) => client.close());
    [clients, leaders, notices] = [[], [], []];
  });

  function connect({ endpoints }: Pick<EtcdCluster, "endpoints"> = cluster, attemptMs = 5000): Etcd {
    const client = createEtcd({ endpoints, prefix: run, attemptMs });
    clients.push(client);
    return client;
  }

  async function lead(
    port: number,
    {
      etcd = connect(),
      limitMs = 60_000,
      seen = [] as string[],
      signal = never,
      leaseSeconds = 30,
      pulse = candidate(port).pulse,
    } = {},
  ): Promise<Leadership> {
    const patience = { limitMs, notice: (sentence: string) => void notices.push(sentence), signal };
    const onLeader = ({ address }: Candidate): void => void seen.push(address);
    const leader = await campaign({ etcd, candidate: { ...candidate(port), pulse }, leaseSeconds, patience, onLeader });
    leaders.push(leader);
    return leader;
  }

  test("one leads, the others know it, and follow in the order in which they came", async () => {
    const first = await lead(1);
    const seenBySecond: string[] = [];
    const second = lead(2, { seen: seenBySecond });
    await eventually(() => expect(seenBySecond).toEqual(["127.0.0.1:1"]));
    const seenByThird: string[] = [];
    const third = lead(3, { seen: seenByThird });
    await eventually(() => expect(seenByThird).toEqual(["127.0.0.1:1"]));
    await first.resign();
    const secondLeads = await second;
    await eventually(() => expect(seenByThird).toEqual(["127.0.0.1:1", "127.0.0.1:2"]));
    await secondLeads.resign();
    expect((await third).lease.holds()).toBe(true);
  });

  test("does not wait for the lease of a leader whose process has ended", async () => {
    const calls: Socket[] = [];
    const process = createServer((socket) => {
      calls.push(socket);
      socket.write("the first\n");
    }).listen(0, "127.0.0.1");
    await once(process, "listening");
    const pulse = { host: "127.0.0.1", port: (process.address() as AddressInfo).port, name: "the first" };
    const first = await lead(1, { pulse, leaseSeconds: 60 });
    expect(first.lease.ttlMs).toBe(60_000);
    const second = lead(2);
    await eventually(() => expect(calls).toHaveLength(1));
    process.close();
    calls[0]!.end();
    expect((await second).lease.holds()).toBe(true);
  });

  test("a standby leaves when it is asked to", async () => {
    await lead(1);
    const stop = new AbortController();
    const second = lead(2, { signal: stop.signal });
    stop.abort(new Error("stopped by SIGINT"));
    await expect(second).rejects.toThrow("stopped by SIGINT");
  });

  test("who loses its lease can't write any more, and says who leads", async () => {
    const etcd = connect();
    const patience = { limitMs: 60_000, notice: () => undefined };
    const old = await lead(1, { etcd, leaseSeconds: 5 });
    const store = createDurableStore(createEtcdMedium(etcd, old, patience));
    await store.load();
    await store.append({ committed: 4 });
    const next = lead(2);
    const other = connect();
    await eventually(async () => expect(await other.list("candidates/")).toHaveLength(2));
    const [oldest] = await other.list("candidates/");
    await other.revoke(oldest!.key.slice("candidates/".length));
    const stale = store.append({ committed: 5 });
    await expect(stale).rejects.toMatchObject({ code: "superseded" });
    await expect(store.append({ committed: 6 })).rejects.toMatchObject({ code: "superseded" });
    const leader = await next;
    expect((await old.whyNot()).message).toContain("the coordinator at 127.0.0.1:2 (pid 2 on here) leads the run now");
    const successor = createDurableStore(createEtcdMedium(other, leader, patience));
    expect(await successor.load()).toEqual({ committed: 4 });
    await successor.append({ committed: 5 });
    await eventually(() => expect(old.lease.lost.aborted).toBe(true));
    expect(old.lease.holds()).toBe(false);
  });

  test("does not resolve an append after the lease has run out, even if etcd took it before", async () => {
    const etcd = connect();
    const leader = await lead(1, { etcd });
    let holding = true;
    const lease = {
      ...leader.lease,
      assure: async () => {
        if (!holding) throw new Error("lost");
      },
    };
    const store = createDurableStore(
      createEtcdMedium(etcd, { ...leader, lease }, { limitMs: 1000, notice: () => undefined }),
    );
    await store.load();
    await store.append({ committed: 1 });
    holding = false;
    await expect(store.append({ committed: 2 })).rejects.toMatchObject({ code: "superseded" });
  });

  test("takes an attempt whose answer was lost for what it is: done", async () => {
    const etcd = connect();
    const leader = await lead(1, { etcd });
    let lost = 0;
    const lossy: Etcd = {
      ...etcd,
      async transact(request) {
        const answer = await etcd.transact(request);
        if (lost++ === 0) throw new RingtuneError("unavailable", "no answer");
        return answer;
      },
    };
    const patience = { limitMs: 60_000, notice: () => undefined };
    const store = createDurableStore(createEtcdMedium(lossy, leader, patience));
    await store.load();
    await store.append({ committed: 1 });
    expect(lost).toBe(2);
    await store.append({ committed: 2 });
    const again = createDurableStore(createEtcdMedium(etcd, leader, patience));
    expect(await again.load()).toEqual({ committed: 2 });
    await again.append({ committed: 3 });
    await expect(store.append({ committed: 4 })).rejects.toThrow("somebody else has written the state of the run");
  });

  test("goes on with two members of three, waits for a second one, and gives up after the stated time", async () => {
    const three = await startEtcd({ count: 3 });
    onTestFinished(() => three.stop());
    const [first, second, third] = three.members;
    const etcd = connect(three, 500);
    const notice = (sentence: string): void => void notices.push(sentence);
    const leader = await lead(1, { etcd, limitMs: 60_000, leaseSeconds: 60 });
    const store = createDurableStore(createEtcdMedium(etcd, leader, { limitMs: 60_000, notice }));
    await store.load();
    await store.append({ committed: 1 });
    first!.child.kill("SIGKILL");
    await store.append({ committed: 2 });
    second!.child.kill("SIGSTOP");
    const waiting = store.append({ committed: 3 });
    await eventually(() => {
      expect(notices.join()).toMatch(
        /waiting to write the state of the run, 60 s at most: etcd at .* does not answer: /,
      );
    });
    second!.child.kill("SIGCONT");
    await waiting;
    expect(notices.join()).toContain("etcd answers again, after ");
    expect(leader.lease.holds()).toBe(true);
    third!.child.kill("SIGKILL");
    const hasty = createDurableStore(createEtcdMedium(etcd, leader, { limitMs: 1000, notice }));
    await expect(hasty.load()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(
        /^could not read the state of the run within 1 s \(cluster.store.timeout_s\): etcd at http:.* does not answer: /,
      ) as string,
    });
  });

  test("names the size of a write that etcd refuses", async () => {
    const etcd = connect();
    const leader = await lead(1, { etcd });
    const store = createDurableStore(createEtcdMedium(etcd, leader, { limitMs: 60_000, notice: () => undefined }));
    await store.load();
    await expect(store.append({ members: "x".repeat(1_700_000), committed: 1 })).rejects.toMatchObject({
      code: "disk_failed",
      message: expect.stringMatching(
        /refuses: etcdserver: request is too large \(a write of 1700\d\d\d bytes, 17000\d\d of them fact\/members\)$/,
      ) as string,
    });
  });
});
