// `ringtune trace`: the last steps of a run that is going on, as a picture of who did what when, or as a table of where the time
// went.

import { writeFile } from "node:fs/promises";
import { Command, wholeNumber } from "../../common/command-line.ts";
import { diskError } from "../../common/disk-error.ts";
import { contactRun } from "../rpc/admin.ts";
import { TIMELINE_STEPS } from "../trace/timeline.ts";

interface TraceOptions {
  readonly steps?: number;
  readonly out: string;
  readonly summary?: boolean;
}

/** Of a picture; more is hard to look at. */
const STEPS_DRAWN = 8;

export function buildTraceCommand(): Command {
  return new Command("trace")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .option(
      "--steps <n>",
      `how many of its last steps, of which ${TIMELINE_STEPS} are kept (default: ${STEPS_DRAWN}, or all of them with --summary)`,
      wholeNumber(1),
    )
    .option("--out <file>", "file to write", "trace.json")
    .option(
      "--summary",
      "print where the time of a step goes, and what the coordinator adds, instead of writing a file",
    )
    .description(
      "write the last steps of a run that is going on as a trace for ui.perfetto.dev or chrome://tracing: a row for each worker",
    )
    .action(writeTrace);
}

async function writeTrace(run: string, { steps, out, summary: isSummary = false }: TraceOptions): Promise<void> {
  const count = steps ?? (isSummary ? TIMELINE_STEPS : STEPS_DRAWN);
  const { json, sentence, summary } = await (await contactRun(run)).trace(count);
  if (isSummary) return void process.stdout.write(`${sentence}\n${summary}`);
  await writeFile(out, json).catch((error: unknown) => {
    throw diskError(`can't write ${out}`, error);
  });
  process.stdout.write(`${sentence}\n${out}: open it in https://ui.perfetto.dev or chrome://tracing\n`);
}
