// `ringtune trace`: the last steps of a run that is going on, as a picture of who did what when.

import { writeFile } from "node:fs/promises";
import { Command, wholeNumber } from "../../common/command-line.ts";
import { diskError } from "../../common/disk-error.ts";
import { contactRun } from "../rpc/admin.ts";

export function buildTraceCommand(): Command {
  return new Command("trace")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .option("--steps <n>", "how many of its last steps", wholeNumber(1), 8)
    .option("--out <file>", "file to write", "trace.json")
    .description(
      "write the last steps of a run that is going on as a trace for ui.perfetto.dev or chrome://tracing: a row for each worker",
    )
    .action(async (run: string, { steps, out }: { readonly steps: number; readonly out: string }) => {
      const { json, sentence } = await (await contactRun(run)).trace(steps);
      await writeFile(out, json).catch((error: unknown) => {
        throw diskError(`can't write ${out}`, error);
      });
      process.stdout.write(`${sentence}\n${out}: open it in https://ui.perfetto.dev or chrome://tracing\n`);
    });
}
