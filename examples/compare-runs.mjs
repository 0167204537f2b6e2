// Prints runs side by side: what was trained, the validation loss before and after, and what was saved.
//
//   node examples/compare-runs.mjs runs/a runs/b

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const rows = process.argv.slice(2).map((run) => {
  const records = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n").map(JSON.parse);
  const losses = records.filter(({ kind }) => kind === "validation").map(({ loss }) => loss.toFixed(3));
  const seconds = records.reduce((sum, { kind, seconds }) => sum + (kind === "step" ? seconds.total : 0), 0);
  const latest = join(run, "latest");
  const files = readdirSync(latest).filter((name) => /^(adapter_)?model.*\.safetensors$/.test(name));
  const bytes = files.reduce((sum, name) => sum + statSync(join(latest, name)).size, 0);
  return [run, losses.at(0), losses.at(-1), `${seconds.toFixed(0)} s`, `${(bytes / 1e6).toFixed(2)} MB`];
});
const table = [["run", "loss before", "loss after", "steps took", "weights saved"], ...rows];
const widths = table[0].map((_, column) => Math.max(...table.map((row) => String(row[column]).length)));
for (const row of table)
  console.log(
    row
      .map((cell, column) => String(cell).padEnd(widths[column]))
      .join("  ")
      .trimEnd(),
  );
