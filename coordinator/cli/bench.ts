// `ringtune bench`: how fast the parts of a cluster are on this machine. `bench allreduce` is a program of the worker's side
// and only named here.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { collect, Command, InvalidArgumentError, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import { RingtuneError } from "../../common/errors.ts";
import { loadTest, type LoadResult } from "../load/load-test.ts";
import { loadPage, loadTable } from "../load/report.ts";
import { shortRun } from "../load/short-run.ts";
import { throughputOf, throughputPage, throughputTable, type ThroughputResult } from "../load/throughput.ts";

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
  command
    .command("throughput")
    .description(
      "train the same batches with 1, 2, 4... real workers of this machine: tokens/s, scaling, parts of a step",
    )
    .argument("<config>", "YAML file of the run; of it a few steps are made, and nothing stays")
    .option("--set <path=value>", "change a setting, such as train.global_batch=32 (repeatable)", collect, [])
    .option("--workers <list>", "how many workers, one run for each number", parseCounts, [1, 2])
    .option("--steps <n>", "optimizer steps of each run", wholeNumber(5), 20)
    .option("--out <folder>", "write throughput.json and throughput.html there too")
    .action(runThroughput);
  return command;
}

async function runThroughput(
  path: string,
  { set, workers, steps, out }: Omit<LoadCommandOptions, "computeMs"> & { readonly set: readonly string[] },
): Promise<void> {
  const signal = untilAsked();
  const config = await loadConfig({ path, overrides: set });
  const results: ThroughputResult[] = [];
  for (const count of workers) {
    tellLive(`${count} worker${count === 1 ? "" : "s"}: ${steps} steps ...`);
    const run = await shortRun(config, { workers: count, steps, signal }).finally(() => tellLive(""));
    if (run.kind === "failed") throw new RingtuneError("worker_lost", `with ${count} workers: ${run.reason}`);
    results.push(throughputOf(count, run));
  }
  process.stdout.write(throughputTable(results));
  await keep(out, "throughput", results, throughputPage(results, new Date()));
}

/** Aborts when the user wants no more. */
function untilAsked(): AbortSignal {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  return stop.signal;
}

/** In the place of the last such line, on a terminal only. */
function tellLive(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\u001b[K`);
}

async function keep(out: string | undefined, name: string, results: unknown, page: string): Promise<void> {
  if (out === undefined) return;
  await mkdir(out, { recursive: true });
  await writeFile(join(out, `${name}.json`), `${JSON.stringify(results, null, 2)}\n`);
  await writeFile(join(out, `${name}.html`), page);
  process.stdout.write(`${join(out, `${name}.html`)}\n`);
}

async function runLoad({ workers, steps, computeMs, out }: LoadCommandOptions): Promise<void> {
  const signal = untilAsked();
  const results: LoadResult[] = [];
  for (const count of workers) {
    const began = performance.now();
    const onStep = (step: number): void => {
      if (step % 10 !== 0) return;
      const rate = step / ((performance.now() - began) / 1000);
      tellLive(`${count} workers: step ${step}/${steps}, ${Math.ceil((steps - step) / rate)} s left `);
    };
    try {
      results.push(await loadTest({ workers: count, steps, computeMs, signal, onStep }));
    } catch (error) {
      throw signal.aborted ? (signal.reason as Error) : error;
    } finally {
      tellLive("");
    }
  }
  process.stdout.write(loadTable(results));
  await keep(out, "load", results, loadPage(results, new Date()));
}

/** "8,64,256" */
function parseCounts(value: string): number[] {
  const counts = value.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count >= 1 && count <= 4096)) return counts;
  throw new InvalidArgumentError("Give whole numbers from 1 to 4096, such as 8,64,256.");
}
