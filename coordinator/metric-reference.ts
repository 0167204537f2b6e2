// docs/metrics.md, written from the catalogue: `ringtune metrics`. A test fails when the file is stale.

import { markdownTable } from "../common/markdown-table.ts";
import { metricDefinitions, questions } from "./metric-catalogue.ts";

const opening = `# Metrics

<!-- Written by \`ringtune metrics\`; change coordinator/metric-catalogue.ts, not this file. -->

The coordinator serves these at \`http://127.0.0.1:9464/metrics\` while a run lasts (\`metrics.host\` and \`metrics.port\` of
the configuration), and \`ok\` at \`/healthz\`. Beside them are the \`process_\` and \`nodejs_\` metrics of prom-client, for the
coordinator's own processor time, memory and event loop.

A counter is there with 0 from the start. A gauge without a value is not there at all: before the first step there is no
loss, and a query for it answers nothing instead of 0.

What a GPU does (utilisation, memory, temperature, power) is the business of NVIDIA's dcgm-exporter, beside this one.
`;

/** The reference of all metrics as Markdown, a table a question. */
export function metricReference(): string {
  const parts = [opening];
  for (const [question, heading] of Object.entries(questions)) {
    const own = metricDefinitions.filter((definition) => definition.question === question);
    const rows = own.map(({ name, kind, unit, labels = {}, help, when }) => [
      `\`${name}\``,
      kind,
      unit,
      Object.entries(labels)
        .map(([label, meaning]) => `\`${label}\`: ${meaning}`)
        .join("; "),
      when === undefined ? help : `${help} There ${when}.`,
    ]);
    parts.push(`## ${heading}\n\n${markdownTable([["metric", "kind", "unit", "labels", "meaning"], ...rows])}\n`);
  }
  return parts.join("\n");
}
