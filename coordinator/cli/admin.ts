// `ringtune status`, `scale`, `drain`, `stop` and `token`: what a person asks the coordinator of a run that is going on.

import { writeFileAtomic } from "../../common/atomic-file.ts";
import { Command, InvalidArgumentError, wholeNumber } from "../../common/command-line.ts";
import type { RunStatus } from "../../proto/admin.ts";
import { contactRun } from "../rpc/admin.ts";
import { columnsOf } from "../watch/frame.ts";

export function buildStatusCommand(): Command {
  return new Command("status")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .description("show the workers of a run that is going on, and where it is")
    .action(async (run: string) => {
      process.stdout.write(formatStatus(await (await contactRun(run)).status()));
    });
}

export function buildScaleCommand(): Command {
  return new Command("scale")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .argument("<workers>", "how many are to train", wholeNumber(0))
    .description(
      "go on with more workers, which ringtune train starts (ringtune coordinator says how), or with fewer: the last ones finish their step and go",
    )
    .action(async (run: string, workers: number) => {
      process.stdout.write(`${await (await contactRun(run)).scale(workers)}\n`);
    });
}

export function buildDrainCommand(): Command {
  return new Command("drain")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .argument("<worker>", "its name, as ringtune status shows it")
    .description("let a worker finish its step and go; the others take over its share")
    .action(async (run: string, worker: string) => {
      process.stdout.write(`${await (await contactRun(run)).drain(worker)}\n`);
    });
}

export function buildStopCommand(): Command {
  return new Command("stop")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .description("save what is committed and end the run, for all its coordinators; it can be resumed")
    .action(async (run: string) => {
      process.stdout.write(`${await (await contactRun(run)).stop()}\n`);
    });
}

export function buildTokenCommand(): Command {
  return new Command("token")
    .argument("<run>", "folder of the run, such as runs/NAME")
    .option("--for <time>", "how long it lets workers in, such as 90s, 30m, 12h or 7d", parseTime, 3600)
    .option("--out <file>", "write it to a file that only you can read, instead of printing it")
    .description("make a join token for a newcomer, which expires; the coordinator keeps its hash only")
    .action(async (run: string, options: { for: number; out?: string }) => {
      const { token, expires } = await (await contactRun(run)).issueToken(options.for);
      if (options.out === undefined) return void process.stdout.write(`${token}\n`);
      await writeFileAtomic(options.out, `${token}\n`, { mode: 0o600 });
      process.stdout.write(`${options.out} lets workers in until ${expires}: ringtune worker --token-file\n`);
    });
}

/** Seconds. */
function parseTime(text: string): number {
  const [, digits = "", unit = ""] = /^(\d+)([smhd])$/.exec(text) ?? [];
  const seconds = Number(digits) * { "": Number.NaN, s: 1, m: 60, h: 3600, d: 86_400 }[unit]!;
  if (!(seconds > 0)) throw new InvalidArgumentError("Give a time such as 90s, 30m, 12h or 7d.");
  return seconds;
}

/** A line for the run, then one for each worker, in columns. */
export function formatStatus(status: RunStatus): string {
  const { run, phase, step, totalSteps, saved, generation, workers, dead, ledger, standbys } = status;
  const rows = workers.map(({ id, status: state, rank, host, pid, silentSeconds, limitSeconds, lagSeconds, doing }) => [
    `  ${id}`,
    state,
    rank < 0 ? "-" : `rank ${rank}`,
    `${host} ${pid}`,
    `heard ${silentSeconds.toFixed(1)} s ago (limit ${limitSeconds.toFixed(1)} s)`,
    `${(1000 * lagSeconds).toFixed(0)} ms late`,
    doing,
  ]);
  const lines = columnsOf(rows);
  const head = `${run}: ${phase}, step ${step} of ${totalSteps}, checkpoint of step ${saved}, generation ${generation}`;
  const samples =
    ledger === null
      ? []
      : [
          `  samples: ${ledger.leased} leased, ${ledger.committed} committed, ${ledger.requeued} re-queued, ${ledger.duplicated} duplicated, ${ledger.lost} lost`,
        ];
  const others = standbys.map(({ address, host, pid }, i) => {
    const when = i === 0 ? "is the next to lead" : "stands by";
    return `  coordinator ${address} (pid ${pid} on ${host}) ${when}`;
  });
  const join = `  another would join it: ${status.joinCommand}`;
  return `${[head, ...lines, ...dead.map((sentence) => `  dead: ${sentence}`), ...samples, ...others, join].join("\n")}\n`;
}
