import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { openProxy, type Proxy } from "../../../coordinator/chaos/proxy.ts";

/** A server that sends back what it gets, and a connection to it through a proxy. */
async function connected(): Promise<{ proxy: Proxy; socket: Socket; text: (length: number) => Promise<string> }> {
  const server = createServer((peer) => peer.on("error", () => undefined).pipe(peer));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as { port: number };
  const proxy = await openProxy(`127.0.0.1:${port}`);
  const socket = call(proxy);
  await once(socket, "connect");
  onTestFinished(async () => {
    socket.destroy();
    await proxy.close();
    server.close();
  });
  let received = "";
  let look = (): void => undefined;
  socket.on("data", (data: Buffer) => {
    received += data.toString();
    look();
  });
  const text = (length: number): Promise<string> =>
    new Promise((resolve) => {
      look = () => received.length >= length && resolve(received.slice(0, length));
      look();
    });
  return { proxy, socket, text };
}

function call({ address }: Proxy): Socket {
  return connect(Number(address.split(":")[1]), "127.0.0.1").on("error", () => undefined);
}

/** However it ended. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** What has been sent has had time to arrive: a connection that is not held has carried something since. */
async function exchanged(): Promise<void> {
  const other = await connected();
  other.socket.write("x");
  await other.text(1);
}

test("passes bytes on, and keeps in order what it holds back in one direction", async () => {
  const { proxy, socket, text } = await connected();
  socket.write("a");
  expect(await text(1)).toBe("a");
  expect(proxy.disturbed).toBe(0);
  proxy.hold(["up"]);
  socket.write("b");
  await exchanged();
  socket.write("c");
  await exchanged();
  expect(proxy.disturbed).toBeGreaterThan(0);
  expect(socket.bytesRead).toBe(1);
  proxy.hold([]);
  expect(await text(3)).toBe("abc");
});

test("what is held on the way down arrives when the connection heals", async () => {
  const { proxy, socket, text } = await connected();
  proxy.hold(["down"]);
  socket.write("a");
  await exchanged();
  expect(socket.bytesRead).toBe(0);
  proxy.hold([]);
  expect(await text(1)).toBe("a");
});

test("delays what it passes on", async () => {
  const { proxy, socket, text } = await connected();
  proxy.delay(20);
  const sent = performance.now();
  socket.write("a");
  await text(1);
  // Up and down; timers may be a millisecond early.
  expect(performance.now() - sent).toBeGreaterThan(38);
  expect(proxy.disturbed).toBe(2);
});

test("resets open connections, and refuses new ones for as long as it is told to", async () => {
  const { proxy, socket } = await connected();
  expect(proxy.reset()).toBe(1);
  await closed(socket);
  proxy.refuse(true);
  const refused = call(proxy);
  await closed(refused);
  expect(refused.bytesRead).toBe(0);
  proxy.refuse(false);
  const again = call(proxy);
  await once(again, "connect");
  again.write("z");
  const [data] = (await once(again, "data")) as [Buffer];
  expect(data.toString()).toBe("z");
  again.destroy();
});
