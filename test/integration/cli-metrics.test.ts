import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { createMetrics } from "../../coordinator/metrics.ts";

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;

test.skipIf(!hasPromtool)("promtool, where it is installed, has nothing to say against the metrics", async () => {
  const metrics = createMetrics();
  metrics.observeValidation({
    kind: "validation",
    step: 1,
    loss: 2,
    perplexity: 7.4,
    tokens: 9,
    seconds: 1,
    timeMs: 0,
  });
  const own = (await metrics.text())
    .split("\n")
    // prom-client's own process metrics break rules of promtool's; they are known by these names everywhere.
    .filter((line) => /^(# (HELP|TYPE) )?ringtune_/.test(line))
    .join("\n");
  const promtool = spawn("promtool", ["check", "metrics"], { stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  promtool.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  promtool.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  promtool.stdin.end(`${own}\n`);
  const [code] = (await once(promtool, "close")) as [number];
  expect(output).toBe("");
  expect(code).toBe(0);
});
