// Writes the dashboards as the files that Grafana is provisioned with: `make dashboards`. A test fails when they are
// stale.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { dashboards } from "./dashboards.ts";
import { buildDashboard } from "./panels.ts";

/** Path below the folder of the dashboards -> contents. */
export function dashboardFiles(): Map<string, string> {
  return new Map(
    dashboards.map((dashboard) => [`${dashboard.uid}.json`, `${JSON.stringify(buildDashboard(dashboard), null, 2)}\n`]),
  );
}

const [folder] = process.argv.slice(2);
if (folder !== undefined && import.meta.filename === process.argv[1]) {
  for (const [name, text] of dashboardFiles()) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
}
