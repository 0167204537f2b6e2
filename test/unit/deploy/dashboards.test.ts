import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { metricDefinitions } from "../../../coordinator/metric-catalogue.ts";
import { createMetrics } from "../../../coordinator/metrics.ts";
import { allQueries, dashboards } from "../../../deploy/grafana/dashboards.ts";
import { dashboardFiles } from "../../../deploy/grafana/generate.ts";
import { packageRoot } from "../../../common/package-root.ts";

const folder = join(packageRoot, "deploy/grafana/dashboards");

describe("the dashboards", () => {
  test("are the files that `make dashboards` writes", async () => {
    const files = dashboardFiles();
    expect((await readdir(folder)).sort()).toEqual([...files.keys()].sort());
    for (const [name, text] of files) {
      expect(await readFile(join(folder, name), "utf8"), `stale: make dashboards (${name})`).toBe(text);
    }
  });

  test("ask for metrics that there are", async () => {
    const others = await createMetrics().text();
    const known = new Set(metricDefinitions.map(({ name }) => name as string));
    for (const { place, query } of allQueries()) {
      for (const [name] of query.matchAll(/\b(ringtune|process|nodejs)_\w+/g)) {
        const metric = name.replace(/_(sum|count|bucket)$/, "");
        const exists = known.has(metric) || others.includes(`# TYPE ${name} `);
        expect(exists, `${place} asks for ${name}`).toBe(true);
      }
    }
  });

  test("show every metric somewhere", () => {
    const queries = allQueries()
      .map(({ query }) => query)
      .join("\n");
    const shown = new Set(
      [...queries.matchAll(/\bringtune_\w+/g)].map(([name]) => name.replace(/_(sum|count|bucket)$/, "")),
    );
    const hidden = metricDefinitions.map(({ name }) => name as string).filter((name) => !shown.has(name));
    // The step of a checkpoint is its age in other words.
    expect(hidden).toEqual(["ringtune_checkpoint_step"]);
  });

  test("say of every panel what it shows, and fill their rows", () => {
    for (const { rows } of dashboards) {
      for (const { title, panels } of rows) {
        const width = panels.reduce((sum, { kind, span = kind === "stat" ? 4 : 8 }) => sum + span, 0);
        expect(width % 24, `${title} is ${width} columns wide`).toBe(0);
        for (const panel of panels) expect(panel.description, panel.title).toMatch(/^[A-Z].{10,}\.$/);
      }
    }
  });
});
