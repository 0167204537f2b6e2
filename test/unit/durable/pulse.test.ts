// What a standby takes for the end of the leader's process, and what not.

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { openPulse, watchPulse, type Pulse } from "../../../coordinator/durable/etcd/pulse.ts";

/** However slow the machine is. */
const eventually = <T>(callback: () => T | Promise<T>): Promise<T> => vi.waitFor(callback, { timeout: 120_000 });

/** Plays a leader's end as it likes. */
async function listen(answer: (socket: Socket) => void): Promise<{ server: Server; pulse: Pulse; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on("error", () => undefined));
    answer(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  return {
    server,
    sockets,
    pulse: { host: "127.0.0.1", port: (server.address() as AddressInfo).port, name: "leader" },
  };
}

function watch(pulse: Pulse): { gone: ReturnType<typeof vi.fn<() => void>> } {
  const gone = vi.fn<() => void>();
  onTestFinished(watchPulse(pulse, gone));
  return { gone };
}

test("a process that ends is gone at once", async () => {
  const { server, sockets, pulse } = await listen((socket) => socket.write("leader\n"));
  const { gone } = watch(pulse);
  await eventually(() => expect(sockets).toHaveLength(1));
  server.close();
  sockets[0]!.end();
  await eventually(() => expect(gone).toHaveBeenCalledOnce());
});

test("says its name to who calls, and breaks the call when it is closed", async () => {
  const pulse = await openPulse("127.0.0.1", "leader");
  const call = connect(pulse.port, pulse.host)
    .setEncoding("utf8")
    .on("error", () => undefined);
  expect(await once(call, "data")).toEqual(["leader\n"]);
  pulse.close();
  await once(call, "close");
});

test("a process that resets a call while it ends is looked into again soon", async () => {
  const { server, sockets, pulse } = await listen((socket) => {
    if (sockets.length === 1) socket.write("leader\n");
    else socket.resetAndDestroy();
  });
  const { gone } = watch(pulse);
  await eventually(() => expect(sockets).toHaveLength(1));
  const pauses = vi.spyOn(globalThis, "setTimeout");
  onTestFinished(() => pauses.mockRestore());
  sockets[0]!.end();
  await eventually(() => expect(sockets.length).toBeGreaterThanOrEqual(3));
  server.close();
  await eventually(() => expect(gone).toHaveBeenCalledOnce());
  expect(pauses.mock.calls.map(([, ms]) => ms)).toEqual(expect.arrayContaining([5, 10, 20]));
});

test("another process with its port is not the leader", async () => {
  let name = "leader\n";
  const { sockets, pulse } = await listen((socket) => socket.write(name));
  const { gone } = watch(pulse);
  await eventually(() => expect(sockets).toHaveLength(1));
  name = "somebody else\n";
  sockets[0]!.end();
  await eventually(() => expect(sockets).toHaveLength(2));
  sockets[1]!.end();
  await eventually(() => expect(gone).toHaveBeenCalledOnce());
});

test("a connection that breaks while the process lives proves nothing", async () => {
  const { sockets, pulse } = await listen((socket) => socket.write("leader\n"));
  const { gone } = watch(pulse);
  for (let broken = 0; broken < 5; broken++) {
    await eventually(() => expect(sockets.length).toBeGreaterThan(broken));
    sockets[broken]!.end();
  }
  await eventually(() => expect(sockets.length).toBeGreaterThan(5));
  expect(gone).not.toHaveBeenCalled();
});

test("one that was never met is not gone", async () => {
  const { server, pulse } = await listen(() => undefined);
  server.close();
  await once(server, "close");
  const refusals = vi.spyOn(globalThis, "setTimeout");
  const { gone } = watch(pulse);
  await eventually(() => expect(refusals).toHaveBeenCalled());
  refusals.mockRestore();
  expect(gone).not.toHaveBeenCalled();
});
