import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { allQueries } from "../../deploy/grafana/dashboards.ts";
import { childrenOf, smallRun, start } from "../support/cli.ts";
import { hasPrometheus, rulesFolder, startPrometheus } from "../support/prometheus.ts";

/** What Grafana fills in. */
const filledIn = (query: string, run: string): string =>
  query.replaceAll("$__rate_interval", "10s").replaceAll("$run", run);

describe.skipIf(!hasPrometheus)("with Prometheus from its Debian package", () => {
  test("promtool finds nothing wrong with the rules, and each alert fires when it should and only then", () => {
    for (const args of [
      ["check", "rules", "rules.yml", "alerts.yml"],
      ["test", "rules", "alerts.test.yml"],
    ]) {
      const { status, stdout, stderr } = spawnSync("promtool", args, { cwd: rulesFolder, encoding: "utf8" });
      expect(status, stdout + stderr).toBe(0);
    }
  });

  test("every alert has a test in which it fires", async () => {
    const names = [...(await readFile(join(rulesFolder, "alerts.yml"), "utf8")).matchAll(/alert: (\w+)/g)];
    const tests = await readFile(join(rulesFolder, "alerts.test.yml"), "utf8");
    for (const [, name] of names) {
      expect(tests, name).toMatch(new RegExp(`alertname: ${name}\n\\s+exp_alerts:\n\\s+- exp_labels`));
    }
  });

  test("a real run answers every query of the dashboards, and the loss of a worker raises its alert", async () => {
    const small = await smallRun({ steps: 1_000_000, eval_every: 20, learning_rate: 1e-4 });
    const running = start([
      ...["train", small.config, "--workers", "2", "--set", "checkpoint.name=watched"],
      ...[
        "--set",
        "metrics.enabled=true",
        "--set",
        "metrics.port=0",
        "--set",
        "checkpoint.every=20",
        "--set",
        "cluster.restarts=0",
      ],
    ]);
    const [, target] = await running.waitFor(/metrics at http:\/\/([^/]+)\/metrics/);
    const prometheus = await startPrometheus(target!);
    await running.waitFor(/valid +20\//);

    for (const { place, query, conditional } of allQueries()) {
      if (conditional !== undefined) continue;
      await expect
        .poll(async () => (await prometheus.query(filledIn(query, "watched"))).length, { message: place })
        .toBeGreaterThan(0);
    }
    const healthy = await prometheus.rules();
    for (const { name, health, lastError } of healthy) expect(health, `${name}: ${lastError}`).toBe("ok");
    // An alert whose metrics nobody exports can never fire.
    const alerts = healthy.filter(({ type }) => type === "alerting");
    expect(alerts.length).toBeGreaterThanOrEqual(10);
    for (const { name, query } of alerts) {
      for (const [metric] of query.matchAll(/\b(?:instance:|worker:)?ringtune_\w+(?::\w+)?/g)) {
        await expect
          .poll(async () => (await prometheus.query(metric)).length, { message: `${name}: ${metric}` })
          .toBeGreaterThan(0);
      }
    }
    const lost = async (): Promise<string | undefined> =>
      (await prometheus.rules()).find(({ name }) => name === "RingtuneWorkerLost")?.state;
    expect(await lost()).toBe("inactive");

    process.kill((await childrenOf(running.child.pid!))[1]!, "SIGKILL");
    await running.waitFor(/generation 1 -> 2/);
    await expect.poll(lost).toBe("firing");
    const missing = allQueries().find(({ place }) => place.includes("Missing workers"))!;
    // The alert may have seen the scrape before the one that has the new generation.
    const missed = async (): Promise<unknown> => (await prometheus.query(filledIn(missing.query, "watched")))[0]?.value;
    await expect.poll(missed).toBe(1);

    running.child.kill("SIGINT");
    expect((await running.finished).code).toBe(130);
  }, 300_000);
});
