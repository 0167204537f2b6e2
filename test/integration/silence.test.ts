// A connection that stands and carries nothing: a cut cable, a host that is gone, a firewall that forgot. Neither end is told,
// so a worker that waits for its coordinator must find out by itself.

import { expect, onTestFinished, test } from "vitest";
import { openProxy, type Direction, type Proxy } from "../../coordinator/chaos/proxy.ts";
import { openSession, serveSessions, type WorkerSession, type WorkerSessionHandlers } from "../../proto/session.ts";
import type { RingtuneError } from "../../common/errors.ts";
import { start } from "../support/cli.ts";

/** A coordinator behind a proxy. */
async function listen(accept: (session: WorkerSession, proxy: Proxy) => WorkerSessionHandlers): Promise<Proxy> {
  const server = await serveSessions({ host: "127.0.0.1", port: 0, accept: (session) => accept(session, proxy) });
  const proxy = await openProxy(server.address);
  onTestFinished(async () => {
    await proxy.close();
    await server.close();
  });
  return proxy;
}

test("a worker whose Welcome is swallowed calls again on another connection, and is let in", async () => {
  const joined: string[] = [];
  const behind = await listen((session, proxy) => ({
    message(message) {
      if (message.kind !== "join") return;
      joined.push(message.value.workerId);
      if (joined.length === 1) proxy.hold(["down"]);
      session.send({ kind: "finish", value: { reason: `let in by call ${joined.length}`, drained: false } });
    },
    closed: () => proxy.hold([]),
  }));
  const worker = start(["worker", "--coordinator", behind.address, "--id", "w7", "--timeout", "100"], {
    env: { RINGTUNE_JOIN_TOKEN: "token" },
  });
  const { code, stdout } = await worker.finished;
  expect(stdout).toContain("the run is over: let in by call 2");
  expect(code).toBe(0);
  expect(joined).toEqual(["w7", "w7"]);
  expect(behind.disturbed).toBeGreaterThan(0);
});

test("a worker that never hears an answer ends with what it waited for and how long", async () => {
  const proxy = await listen(() => ({ message: () => undefined, closed: () => undefined }));
  const { code, stderr } = await start(["worker", "--coordinator", proxy.address, "--timeout", "4"]).finished;
  expect(stderr).toMatch(
    /the coordinator at 127\.0\.0\.1:\d+ has not answered for \d+ ms, though its connection stands/,
  );
  expect(code).toBe(1);
});

test.each([[["down"]], [["up"]], [["up", "down"]]] as Direction[][][])(
  "a coordinator whose pings are swallowed (%s) is given up while the connection stands",
  async (directions) => {
    let welcomed = (): void => undefined;
    const welcome = new Promise<void>((resolve) => (welcomed = resolve));
    let lost = (_: RingtuneError | undefined): void => undefined;
    const closed = new Promise<RingtuneError | undefined>((resolve) => (lost = resolve));
    const proxy = await listen((session) => ({
      message: () => session.send({ kind: "finish", value: { reason: "", drained: false } }),
      closed: () => undefined,
    }));
    const session = await openSession({
      ...{ address: proxy.address, timeoutMs: 60_000, silenceMs: 1500 },
      handlers: { message: welcomed, closed: lost },
    });
    session.send({ kind: "leaving", value: { reason: "" } });
    await welcome;
    proxy.hold(directions);
    expect(await closed).toMatchObject({
      code: "worker_lost",
      message: expect.stringMatching(/lost the coordinator at 127.*(dropped|keepalive)/i) as string,
    });
  },
);
