// `ringtune watch`: a run that is going on, on one screen, until it ends.

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command, InvalidArgumentError } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { contactRun } from "../rpc/admin.ts";
import { frame } from "../watch/frame.ts";
import { growingRecords } from "../watch/growing-records.ts";
import { colorsFor } from "./colors.ts";

export function buildWatchCommand(): Command {
  return new Command("watch")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .option("--every <seconds>", "how often to look", parseSeconds, 1)
    .description(
      "show a run that is going on: how far it is, what it learns, what each worker does; Ctrl-C leaves it alone",
    )
    .action(watch);
}

async function watch(run: string, { every }: { readonly every: number }): Promise<void> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());
  const { stdout } = process;
  const colors = colorsFor(stdout);
  const records = growingRecords(join(run, "metrics.jsonl"));
  let shown = 0;
  for (let first = true; !stop.signal.aborted; first = false) {
    let lines: string[];
    try {
      const status = await (await contactRun(run)).status();
      lines = frame(status, await records(), stdout.columns ?? 100, colors);
    } catch (error) {
      if (first || !(error instanceof RingtuneError) || error.code !== "run_missing") throw error;
      stdout.write(`nobody coordinates ${run} any more; ringtune logs ${run} says why\n`);
      return;
    }
    // Over what was there, line by line, so that nothing flickers.
    if (stdout.isTTY && shown > 0) stdout.write(`\u001b[${shown}A`);
    const erase = stdout.isTTY ? "\u001b[K" : "";
    stdout.write(lines.map((line) => `${line}${erase}\n`).join("") + (stdout.isTTY ? "\u001b[J" : "\n"));
    shown = lines.length;
    await delay(every * 1000, undefined, { signal: stop.signal }).catch(() => undefined);
  }
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (seconds >= 0.1 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError("Give seconds from 0.1 to 3600.");
}
