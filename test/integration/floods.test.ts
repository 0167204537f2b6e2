// What strangers, and workers that misbehave, may do to the coordinator's ports: real sockets, real gRPC. Each costs a bounded
// amount of memory and is told why, or cut off, and the worker beside them does not notice.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { serveAdmin, callAdmin, type RunStatus } from "../../proto/admin.ts";
import type { Refusal } from "../../proto/front-door.ts";
import { grpc } from "../../proto/grpc.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import { openSession, serveSessions, type SessionServer, type WorkerSession } from "../../proto/session.ts";
import { smallRun, start } from "../support/cli.ts";

const host = "127.0.0.1";
const path = "/ringtune.v1.Coordinator/Session";

interface Served extends SessionServer {
  /** Why sessions ended, in order. */
  readonly closed: string[];
  readonly sessions: WorkerSession[];
  readonly heard: FromWorker[];
  readonly noticed: string[];
  /** How often somebody was turned away, by reason. */
  readonly refused: Partial<Record<Refusal, number>>;
}

/** Answers whoever says anything with finish. */
async function serve({ answer = true, proveWithinMs = 120_000 } = {}): Promise<Served> {
  const [closed, sessions, heard, noticed]: [string[], WorkerSession[], FromWorker[], string[]] = [[], [], [], []];
  const refused: Served["refused"] = {};
  const server = await serveSessions({
    ...{ host, port: 0, proveWithinMs, noticed: (sentence) => noticed.push(sentence) },
    refused: (why) => (refused[why] = (refused[why] ?? 0) + 1),
    accept(session) {
      sessions.push(session);
      return {
        message(message) {
          heard.push(message);
          if (answer) session.send({ kind: "finish", value: { reason: "heard", drained: false } });
        },
        closed: (reason) => closed.push(reason),
      };
    },
  });
  onTestFinished(() => server.close());
  return { ...server, closed, sessions, heard, noticed, refused };
}

/** A worker that says something and waits for the answer. */
async function speak(server: SessionServer): Promise<FromCoordinator["kind"]> {
  let hear = (_: FromCoordinator["kind"]): void => undefined;
  const answer = new Promise<FromCoordinator["kind"]>((resolve) => (hear = resolve));
  const session = await openSession({
    ...{ address: server.address, timeoutMs: 60_000 },
    handlers: { message: ({ kind }) => hear(kind), closed: () => undefined },
  });
  session.send({ kind: "prepared", value: { gpuUuid: "" } });
  const kind = await answer;
  await session.end();
  return kind;
}

function open(port: number): Socket {
  const socket = connect(port, host);
  socket.on("error", () => undefined);
  onTestFinished(() => void socket.destroy());
  return socket;
}

const closing = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.resume().once("close", resolve));

/** Sends these bytes as a message to the session service, and resolves with the status that ends the call. */
function callWith(server: SessionServer, bytes: Buffer): Promise<grpc.StatusObject> {
  const client = new grpc.Client(server.address, grpc.credentials.createInsecure());
  const same = (value: Buffer): Buffer => value;
  const call = client.makeBidiStreamRequest(path, same, same);
  call.on("error", () => undefined);
  const status = new Promise<grpc.StatusObject>((resolve) => call.once("status", resolve));
  call.resume().write(bytes);
  return status.finally(() => client.close());
}

test("noise, HTTP/2 that is none, and streams left half open are hung up on", async () => {
  const server = await serve({ proveWithinMs: 4000 });
  const sockets: Socket[] = [];
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  for (const noise of [
    Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Buffer.alloc(100_000, 0xa5),
    // A frame of 16 MiB, HEADERS that are not HPACK, SETTINGS of a wrong length.
    Buffer.concat([preface, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), Buffer.alloc(1000)]),
    Buffer.concat([
      preface,
      Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
      Buffer.from([0, 0, 5, 1, 4, 0, 0, 0, 1]),
      Buffer.alloc(5, 0xff),
    ]),
    Buffer.concat([preface, Buffer.from([0, 0, 5, 4, 0, 0, 0, 0, 0]), Buffer.alloc(5)]),
  ]) {
    const socket = open(server.port);
    socket.write(noise);
    sockets.push(socket);
  }
  // What stops in the middle of a frame is half-open: that takes as long as a join may take.
  await Promise.all(sockets.map(closing));
  expect(Object.keys(server.refused)).toEqual(["silent"]);
  expect(server.heard).toEqual([]);
  expect(await speak(server)).toBe("finish");
});

test("messages that are too large, or none of ours, end the call with both numbers", async () => {
  const server = await serve();
  const large = await callWith(server, Buffer.alloc(512 * 1024 + 1));
  expect(large.details).toBe("it sent a message of 524289 bytes, of at most 524288");
  const malformed = await callWith(server, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01]));
  expect(malformed.details).toMatch(/^it sent 7 bytes that are no message of ours \(/);
  expect(server.closed).toEqual([large.details, malformed.details]);
  expect(server.refused).toEqual({ unreadable: 2 });
  // gRPC itself stops reading here.
  const huge = await callWith(server, Buffer.alloc(1024 * 1024 + 1));
  expect([huge.code, huge.details]).toEqual([
    grpc.status.RESOURCE_EXHAUSTED,
    expect.stringMatching(/larger than max \(1048577 vs\.? 1048576\)/),
  ]);
  expect(server.heard).toEqual([]);
  expect(await speak(server)).toBe("finish");
});

test("connections that say nothing give way to those who come later", async () => {
  const server = await serve();
  const silent: Socket[] = [];
  while (silent.length < 1100) {
    // A few at a time: what overflows the kernel's queue is heard of much later.
    const some = Array.from({ length: 50 }, () => open(server.port).resume());
    await Promise.all(some.map((socket) => once(socket, "connect")));
    silent.push(...some);
  }
  await Promise.all(silent.slice(0, 76).map(closing));
  expect(silent.filter(({ closed }) => closed).length).toBeLessThan(200);
  expect(server.refused["crowded"]).toBeGreaterThanOrEqual(76);
  expect(await speak(server)).toBe("finish");
  expect(server.noticed).toEqual([
    "closed connections of strangers so far: 1 that had not joined when more than 1024 were waiting",
  ]);
});

test("a worker that does not read is cut off before much waits for it, and its stream says why", async () => {
  const server = await serve({ answer: false });
  const client = connectHttp2(`http://${host}:${server.port}`);
  client.on("error", () => undefined);
  onTestFinished(() => client.destroy());
  const stream = client.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => undefined).pause();
  stream.write(Buffer.from([0, 0, 0, 0, 2, 0x52, 0])); // prepared
  await expect.poll(() => server.heard.length).toBe(1);
  const mebibyte = Buffer.alloc(1024 * 1024);
  const empty = Buffer.alloc(0);
  const shard = { rows: 1, length: 1, inputIds: mebibyte, targets: empty, attentionMask: empty, tokenTypeIds: empty };
  const cut = new Promise((resolve) => client.once("close", resolve));
  for (let i = 0; i < 100; i++) {
    server.sessions[0]!.send({ kind: "evaluate", value: { generation: 1, step: i, shard, microbatch: 1 } });
  }
  expect(server.closed).toEqual([
    "it does not read: 65 messages (68157440 bytes) wait for it, of at most 64 (268451840 bytes)",
  ]);
  await cut;
  expect(server.refused).toEqual({ unread: 1 });
  expect(await speak(await serve())).toBe("finish");
});

test("an unknown admin command, a wrong token and a request too large are refused, and the next one is answered", async () => {
  const status = { run: "a", workers: [], dead: [] } as unknown as RunStatus;
  const none = (): never => {
    throw new Error("not asked");
  };
  const handlers = {
    status: () => status,
    scale: none,
    drain: none,
    trace: none,
    stop: none,
    measureLinks: none,
    issueToken: none,
  };
  const server = await serveAdmin("right", handlers);
  onTestFinished(() => server.close());
  const client = new grpc.Client(server.address, grpc.credentials.createInsecure());
  onTestFinished(() => client.close());
  const ask = (name: string, bytes: Buffer): Promise<grpc.ServiceError | null> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(`/ringtune.v1.Admin/${name}`, (b: Buffer) => b, String, bytes, resolve);
    });
  expect((await ask("Shutdown", Buffer.alloc(0)))?.code).toBe(grpc.status.UNIMPLEMENTED);
  expect((await ask("Scale", Buffer.alloc(70_000)))?.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  expect((await ask("Scale", Buffer.from([8, 1])))?.details).toBe("the admin token is wrong");
  expect((await ask("Scale", Buffer.from([8, 0xff])))?.code).toBe(grpc.status.INTERNAL);
  await expect(callAdmin(server.address, "left").status()).rejects.toMatchObject({ code: "unauthenticated" });
  expect(await callAdmin(server.address, "right").status()).toMatchObject({ run: "a" });
});

test("a run goes on under a flood of connections and scrapes", async () => {
  const { config, folder } = await smallRun({ steps: 1_000_000, eval_every: 0, learning_rate: 1e-5 });
  const running = start([
    ...["train", config, "--workers", "1", "--set", "checkpoint.name=run", "--set", "checkpoint.every=0"],
    ...["--set", "metrics.enabled=true", "--set", "metrics.port=0", "--set", "cluster.port=0"],
  ]);
  const [, url] = await running.waitFor(/metrics at (\S+)/);
  const steps = async (): Promise<number> => {
    const text = await readFile(join(folder, "runs/run/metrics.jsonl"), "utf8").catch(() => "");
    return text.split("\n").length - 1;
  };
  await expect.poll(steps).toBeGreaterThan(5);
  const pid = running.child.pid!;
  const residentMiB = async (): Promise<number> =>
    Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  const [memory, before] = [await residentMiB(), await steps()];

  const admin = JSON.parse(await readFile(join(folder, "runs/run/admin.json"), "utf8")) as Record<
    "address" | "token",
    string
  >;
  const { joinCommand } = await callAdmin(admin.address, admin.token).status();
  const worker = /--coordinator \S+:(\d+)/.exec(joinCommand)?.[1];
  const ports = [new URL(url!).port, admin.address.split(":")[1], worker].map(Number);
  const noisy = ports.flatMap((port) => Array.from({ length: 100 }, () => open(port)));
  noisy.forEach((socket) => socket.write(Buffer.alloc(10_000, 0x5a)));
  const scrapes = Array.from({ length: 300 }, () =>
    fetch(url!).then(
      (answer) => answer.status,
      () => 0,
    ),
  );
  await Promise.all(noisy.map(closing));
  const statuses = new Set(await Promise.all(scrapes));
  expect([...statuses].filter((status) => ![0, 200, 429].includes(status))).toEqual([]);

  const during = await steps();
  await expect.poll(steps).toBeGreaterThan(Math.max(before, during) + 5);
  expect((await residentMiB()) - memory).toBeLessThan(150);
  // The connections that the flood kept open are closed one by one; a scrape on one of them is asked again.
  let metrics = "";
  const scrape = async (): Promise<number> => {
    const answer = await fetch(url!);
    metrics = await answer.text();
    return answer.status;
  };
  await expect.poll(() => scrape().catch(() => 0)).toBe(200);
  expect(metrics).toMatch(/^ringtune_refusals_total\{port="workers",reason="silent"\} \d/m);
  const shown = metrics + running.output();
  for (const secret of [admin.token, await readFile(join(folder, "runs/run/join-token"), "utf8")]) {
    expect(secret.trim().length).toBeGreaterThan(30);
    expect(shown).not.toContain(secret.trim());
  }
  running.child.kill("SIGINT");
  expect(await running.finished).toMatchObject({ code: 130 });
});
