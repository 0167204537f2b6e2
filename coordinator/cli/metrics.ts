// `ringtune metrics`: the reference of all metrics as Markdown. Runs nothing.

import { Command } from "../../common/command-line.ts";
import { metricReference } from "../metric-reference.ts";

export function buildMetricsCommand(): Command {
  return new Command("metrics").description("print the reference of all metrics as Markdown").action(() => {
    process.stdout.write(metricReference());
  });
}
