import { expect, test } from "vitest";
import { smallRun, start } from "../support/cli.ts";

test("a worker and its coordinator answer health and readiness checks while they train", async () => {
  const small = await smallRun({ steps: 100_000, eval_every: 0 });
  const coordinator = start([
    ...["coordinator", small.config, "--set", "cluster.workers=2"],
    ...["--set", "metrics.enabled=true", "--set", "metrics.port=0"],
  ]);
  const [, metrics] = await coordinator.waitFor(/metrics at (\S+)/);
  const [, address, token] = await coordinator.waitFor(/ringtune worker --coordinator (\S+) --token-file (\S+)/);
  expect((await fetch(new URL("/readyz", metrics))).status).toBe(200);

  const join = ["worker", "--coordinator", address!, "--token-file", token!];
  const worker = start([...join, "--health", "0"]);
  const [, url] = await worker.waitFor(/health checks at (http:\/\/127\.0\.0\.1:\d+\/healthz)/);
  const ready = async (): Promise<number> => (await fetch(new URL("/readyz", url))).status;
  expect((await fetch(url!)).status).toBe(200);
  expect(await ready(), "before the second worker has come").toBe(503);
  const other = start(join);
  await coordinator.waitFor(/step +1\//);
  expect(await ready()).toBe(200);
  expect(await (await fetch(url!)).text()).toMatch(/^ready: \w/);

  coordinator.child.kill("SIGINT");
  for (const { finished } of [worker, other]) expect(await finished).toMatchObject({ code: 0 });
});
