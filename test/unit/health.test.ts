import { expect, test } from "vitest";
import { exitCodeOf, RingtuneError } from "../../common/errors.ts";
import { serveHealth, type Health } from "../../worker/control/health.ts";

async function ask({ url }: Health, path: string): Promise<[number, string]> {
  const answer = await fetch(new URL(path, url));
  return [answer.status, (await answer.text()).trim()];
}

test("a worker is alive from the start, ready in a generation, and not alive when it hangs without a coordinator", async () => {
  let nowMs = 0;
  const health = await serveHealth({ host: "127.0.0.1", port: 0 }, () => nowMs);
  expect(await ask(health, "/healthz")).toEqual([200, "connecting: connecting to the coordinator"]);
  expect(await ask(health, "/readyz")).toEqual([503, "connecting: connecting to the coordinator"]);
  health.opened();
  health.doing("making its engine");
  expect(await ask(health, "/readyz")).toEqual([503, "joined: making its engine"]);
  health.formed();
  health.doing("computing step 3");
  expect(await ask(health, "/readyz?verbose")).toEqual([200, "ready: computing step 3"]);
  health.closed();
  nowMs += 60_000;
  expect(await ask(health, "/readyz")).toEqual([503, "closed: computing step 3"]);
  expect(await ask(health, "/healthz")).toEqual([200, "closed: computing step 3"]);
  nowMs += 1;
  expect(await ask(health, "/healthz")).toEqual([503, "closed: computing step 3"]);
  health.opened();
  expect(await ask(health, "/healthz")).toEqual([200, "joined: computing step 3"]);
  expect((await ask(health, "/"))[0]).toBe(404);
});

test("a port that is taken is named", async () => {
  const { url } = await serveHealth({ host: "127.0.0.1", port: 0 });
  const port = Number(new URL(url).port);
  await expect(serveHealth({ host: "127.0.0.1", port })).rejects.toMatchObject({
    code: "address_in_use",
    message: `can't answer health checks on 127.0.0.1:${port}: another process listens there; 0 takes a free port`,
  });
});

test("exit codes tell a supervisor whether to start the process again", () => {
  const codeOf = (code: ConstructorParameters<typeof RingtuneError>[0]): number =>
    exitCodeOf(new RingtuneError(code, "a sentence"));
  expect(
    ["worker_lost", "timed_out", "collective_failed", "disk_failed", "internal"].map((c) => codeOf(c as "internal")),
  ).toEqual([1, 1, 1, 1, 1]);
  expect([codeOf("usage"), codeOf("config_invalid"), codeOf("not_finite")]).toEqual([2, 2, 3]);
  expect([codeOf("unauthenticated"), codeOf("protocol_mismatch"), codeOf("no_device")]).toEqual([4, 4, 4]);
  expect(codeOf("cancelled")).toBe(130);
});
