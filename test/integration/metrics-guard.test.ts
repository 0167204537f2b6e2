// The metrics port when it is guarded (TLS, a password), and when too many ask.

import { writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { guardOf } from "../../coordinator/exposure.ts";
import { serveMetrics } from "../../coordinator/metrics-server.ts";
import { finish, smallRun, start, temporaryFolder } from "../support/cli.ts";
import { hasPrometheus, startPrometheus } from "../support/prometheus.ts";

test.skipIf(!hasPrometheus)(
  "Prometheus scrapes a coordinator over TLS with a password, and gets nothing with another password or authority",
  async () => {
    const { folder, config } = await smallRun();
    const [certs, others] = [join(folder, "certs"), join(folder, "others")];
    for (const each of [certs, others]) await finish(["certs", "init", each]);
    const [right, wrong] = [join(folder, "password"), join(folder, "wrong")];
    await writeFile(right, "correct horse\n");
    await writeFile(wrong, "battery staple\n");
    const coordinator = start([
      ...["coordinator", config, "--set", "cluster.workers=3", "--set", "metrics.enabled=true"],
      // On all addresses, which is refused without these two.
      ...["--set", "metrics.host=0.0.0.0", "--set", "metrics.port=0", "--set", `metrics.certs=${certs}`],
      ...["--set", `metrics.basic_auth.password_file=${right}`],
    ]);
    const [, port] = await coordinator.waitFor(/metrics at https:\/\/0\.0\.0\.0:(\d+)\/metrics/);
    await coordinator.waitFor(/waiting for 3 workers/);
    const guarded = (ca: string, password: string) => ({
      scheme: "https",
      tls_config: { ca_file: join(ca, "ca.pem") },
      basic_auth: { username: "prometheus", password_file: password },
    });
    const jobs = { ringtune: guarded(certs, right), guesser: guarded(certs, wrong), stranger: guarded(others, right) };
    const prometheus = await startPrometheus(`127.0.0.1:${port}`, jobs);
    const up = async (): Promise<Record<string, number>> =>
      Object.fromEntries((await prometheus.query("up")).map(({ metric, value }) => [metric["job"]!, value]));
    await expect.poll(up).toEqual({ ringtune: 1, guesser: 0, stranger: 0 });
    const [target] = await prometheus.query("ringtune_world_size_target");
    expect(target).toMatchObject({ value: 3, metric: { job: "ringtune" } });
    expect(coordinator.output()).not.toMatch(/correct horse|battery staple/);
    const open = await finish(["config", "check", config, "--set", "metrics.enabled=true", "--set", "metrics.host=::"]);
    expect(open.stderr).toMatch(/metrics\.host: "::" is beyond loopback, where everybody could read the metrics/);
  },
);

test("a storm of scrapes is collected once at a time, and what is too much is refused", async () => {
  let collected = 0;
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const text = async (): Promise<string> => {
    collected++;
    await gate;
    return "x 1\n";
  };
  const refused = { full: 0, rate: 0, password: 0, unread: 0 };
  const server = await serveMetrics({
    ...{ host: "127.0.0.1", port: 0, metrics: { text, contentType: "text/plain" } },
    refused: (why) => refused[why]++,
  });
  onTestFinished(() => server.close());
  const { port } = new URL(server.url);
  const sockets: Socket[] = [];
  onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
  const answers = Array.from({ length: 200 }, async () => {
    const socket = connect(Number(port), "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => undefined);
    let answer = "";
    socket.setEncoding("utf8").on("data", (data: string) => (answer += data));
    socket.write("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await new Promise((resolve) => socket.once("close", resolve));
    return /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? "closed";
  });
  // Over the rate, or over the connections: 50 wait for the one collection.
  await expect.poll(() => sockets.filter((socket) => !socket.destroyed).length).toBeLessThanOrEqual(64);
  // What those have asked has been read: it was sent, and this process serves it.
  const isSent = ({ destroyed, connecting, writableLength }: Socket): boolean =>
    destroyed || (!connecting && writableLength === 0);
  await expect.poll(() => sockets.every(isSent)).toBe(true);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  release();
  const counts = new Map<string, number>();
  for (const answer of await Promise.all(answers)) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  expect(counts.get("200")).toBeGreaterThanOrEqual(1);
  expect([...counts.keys()].filter((status) => !["200", "429", "closed"].includes(status))).toEqual([]);
  expect(collected).toBe(1);
  expect(refused).toEqual({ full: counts.get("closed") ?? 0, rate: counts.get("429") ?? 0, password: 0, unread: 0 });
  // And afterwards it answers again.
  await expect.poll(async () => (await fetch(server.url)).status).toBe(200);
});

test("who asks again and again and never reads the answers is cut off, and nobody else waits", async () => {
  const metrics = { text: async () => "x 1\n".repeat(1_000_000), contentType: "text/plain" };
  const refused: string[] = [];
  const server = await serveMetrics({
    ...{ host: "127.0.0.1", port: 0, metrics, idleMs: 2000 },
    refused: (why) => refused.push(why),
  });
  onTestFinished(() => server.close());
  const slow = connect(Number(new URL(server.url).port), "127.0.0.1");
  onTestFinished(() => void slow.destroy());
  slow.pause().on("error", () => undefined);
  slow.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
  expect((await (await fetch(server.url)).text()).length).toBe(4_000_000);
  await expect.poll(() => refused).toEqual(["unread"]);
});

test("a password that is absent or empty is named before anything is served", async () => {
  const folder = await temporaryFolder();
  const empty = join(folder, "empty");
  await writeFile(empty, "\n");
  const guard = (password_file: string) =>
    guardOf({ ...configSchema.parse({}).metrics, basic_auth: { username: "a", password_file } });
  await expect(guard(join(folder, "none"))).rejects.toThrow(/password of metrics\.basic_auth in \S+none: ENOENT/);
  await expect(guard(empty)).rejects.toThrow(/the password of metrics\.basic_auth in \S+empty is empty/);
});
