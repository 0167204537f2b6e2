// `ringtune logs`: what happened in a run, or to one of its workers.

import { Command } from "../../common/command-line.ts";
import { formatLine } from "../../common/log-line.ts";
import { readLog } from "../log/read-log.ts";

export function buildLogsCommand(): Command {
  return new Command("logs")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .argument("[worker]", "only what is about this worker")
    .option("--follow", "wait for more, until Ctrl-C")
    .option("--json", "lines as they are stored: time, level, job, generation, step, worker, rank, message")
    .description("print what happened in a run: who came and went, what was decided and why")
    .action(async (run: string, worker: string | undefined, options: { follow?: boolean; json?: boolean }) => {
      const stop = new AbortController();
      if (options.follow === true) process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());
      // On a pipe a program reads it.
      const asJson = options.json === true || !process.stdout.isTTY;
      for await (const line of readLog(run, options.follow === true ? stop.signal : undefined)) {
        if (worker !== undefined && line.worker !== worker) continue;
        process.stdout.write(`${asJson ? JSON.stringify(line) : formatLine(line)}\n`);
      }
    });
}
