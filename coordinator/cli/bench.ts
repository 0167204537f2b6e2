// `ringtune bench`: how fast the parts of a cluster are on this machine. `bench allreduce` is a program of the worker's side
// and only named here.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, InvalidArgumentError, wholeNumber } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { loadTest, type LoadResult } from "../load/load-test.ts";
import { loadPage, loadTable } from "../load/report.ts";

interface LoadCommandOptions {
  readonly workers: readonly number[];
  readonly steps: number;
  readonly computeMs: number;
  readonly out?: string;
}

export function buildBenchCommand(): Command {
  const command = new Command("bench").description("measure how fast the parts of a cluster are on this machine");
  command
    .command("allreduce")
    .description("sum buffers between processes of this host: time, algbw and busbw as nccl-tests defines them");
  command
    .command("load")
    .description("many simulated workers (real gRPC streams, no computation) against a real coordinator")
    .option("--workers <list>", "how many workers, one run for each number", parseCounts, [8, 64, 256])
    .option("--steps <n>", "optimizer steps of each run", wholeNumber(10), 300)
    .option("--compute-ms <n>", "how long a simulated worker pretends to compute", wholeNumber(0), 0)
    .option("--out <folder>", "write load.json and load.html there too")
    .action(runLoad);
  return command;
}

async function runLoad({ workers, steps, computeMs, out }: LoadCommandOptions): Promise<void> {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  const results: LoadResult[] = [];
  const terminal = process.stderr.isTTY;
  for (const count of workers) {
    const began = performance.now();
    const onStep = (step: number): void => {
      if (!terminal || step % 10 !== 0) return;
      const rate = step / ((performance.now() - began) / 1000);
      process.stderr.write(
        `\r${count} workers: step ${step}/${steps}, ${Math.ceil((steps - step) / rate)} s left \u001b[K`,
      );
    };
    try {
      results.push(await loadTest({ workers: count, steps, computeMs, signal: stop.signal, onStep }));
    } catch (error) {
      throw stop.signal.aborted ? (stop.signal.reason as Error) : error;
    } finally {
      if (terminal) process.stderr.write("\r\u001b[K");
    }
  }
  process.stdout.write(loadTable(results));
  if (out === undefined) return;
  await mkdir(out, { recursive: true });
  await writeFile(join(out, "load.json"), `${JSON.stringify(results, null, 2)}\n`);
  await writeFile(join(out, "load.html"), loadPage(results, new Date()));
  process.stdout.write(`${join(out, "load.html")}\n`);
}

/** "8,64,256" */
function parseCounts(value: string): number[] {
  const counts = value.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count >= 1 && count <= 4096)) return counts;
  throw new InvalidArgumentError("Give whole numbers from 1 to 4096, such as 8,64,256.");
}
