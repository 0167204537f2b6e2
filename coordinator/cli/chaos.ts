// `ringtune chaos`: a run under seeded faults on real processes, and whether anything was lost.

import { basename, resolve } from "node:path";
import { collect, Command, InvalidArgumentError, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import { RingtuneError } from "../../common/errors.ts";
import { chaos, type ChaosResult, type Fault, type Progress } from "../chaos/chaos.ts";
import { describePlanned, faultKinds, parseFaults, planFault, type FaultKind } from "../chaos/plan.ts";
import { describeFault, describeResult } from "../chaos/report.ts";
import { describeDuration, significant } from "./quantities.ts";

interface ChaosCommandOptions {
  readonly seed: number;
  readonly faults: readonly FaultKind[];
  readonly count?: number;
  readonly minutes?: number;
  readonly workers?: number;
  readonly set: readonly string[];
  readonly reference: boolean;
  readonly json: boolean;
  readonly plan: boolean;
  readonly verbose: boolean;
}

/** Fewer could not lose one and go on with two. */
const LEAST_WORKERS = 3;

export function buildChaosCommand(): Command {
  return new Command("chaos")
    .argument("<config>", "YAML file of the run")
    .description(
      "train under seeded faults on real processes, on this host, and check that nothing was lost: kills, stops, cut and slow connections",
    )
    .option("--seed <n>", "of the plan: the same seed plans the same faults", wholeNumber(0), 0)
    .option("--faults <list>", `which: ${faultKinds.join(",")}`, parseFaults, faultKinds)
    .option("--count <n>", "stop the run after so many faults that took effect", wholeNumber(1))
    .option("--minutes <n>", "stop the run after so many minutes", positive)
    .option("--workers <n>", `worker processes, instead of cluster.workers (at least ${LEAST_WORKERS})`, wholeNumber(2))
    .option("--set <path=value>", "change a setting, such as cluster.heartbeat_s=0.1 (repeatable)", collect, [])
    .option("--reference", "train once more without faults, and compare losses, samples and weights", false)
    .option("--plan", "print the first faults of the plan (--count, or 20) and end", false)
    .option("--json", "print the result as JSON", false)
    .option("--verbose", "print every fault, also where the output is no terminal", false)
    .action(runChaos);
}

async function runChaos(path: string, options: ChaosCommandOptions): Promise<void> {
  const { seed, faults, count, minutes } = options;
  const name = `chaos-${seed}-${Date.now().toString(36)}`;
  const config = await loadConfig({ path, overrides: options.set });
  if (options.plan) {
    for (let i = 1; i <= (count ?? 20); i++) process.stdout.write(`${describePlanned(planFault(seed, faults, i))}\n`);
    return;
  }
  const { workers: configured } = config.cluster;
  const workers = options.workers ?? Math.max(LEAST_WORKERS, configured === "auto" ? 0 : configured);
  const run = resolve(config.checkpoint.dir, config.checkpoint.name ?? name);
  const sets = [...options.set, `cluster.workers=${workers}`, `checkpoint.name=${basename(run)}`];
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  const screen = createScreen(options);
  try {
    const result = await chaos({
      ...{ seed, faults, workers, run, reference: options.reference, signal: stop.signal },
      ...(count === undefined ? {} : { count }),
      ...(minutes === undefined ? {} : { minutes }),
      args: [path, ...sets.flatMap((set) => ["--set", set])],
      identical: config.train.bit_identical,
      onFault: screen.fault,
    });
    screen.end();
    process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : describeResult(result));
    conclude(result);
  } catch (error) {
    screen.end();
    throw stop.signal.aborted ? (stop.signal.reason as Error) : error;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

function conclude({ violations, faults }: ChaosResult): void {
  if (violations.length > 0)
    throw new RingtuneError("internal", `${violations.length} things went wrong: ${violations[0]}`);
  if (faults.some(({ outcome }) => outcome.missed === undefined)) return;
  throw new RingtuneError("usage", "no fault took effect: the run was over too soon, give it more steps or time");
}

/** Lines of faults on a terminal or when asked for, and there a last line that says how far it is. */
function createScreen({ json, verbose }: ChaosCommandOptions): {
  readonly fault: (fault: Fault, progress: Progress) => void;
  readonly end: () => void;
} {
  const terminal = process.stderr.isTTY === true;
  const clear = terminal ? "\r\u001b[2K" : "";
  return {
    fault: (fault, { fired, wanted, step, seconds }) => {
      const shown = verbose || (terminal && !json);
      if (shown) process.stderr.write(`${clear}${describeFault(fault)}\n`);
      if (!terminal) return;
      const rate = fired / seconds;
      const eta = wanted === undefined ? "" : `/${wanted}, ETA ${describeDuration((wanted - fired) / rate)}`;
      process.stderr.write(`${clear}${fired} faults${eta}, ${significant(rate, 2)}/s, step ${step} `);
    },
    end: () => void process.stderr.write(clear),
  };
}

function positive(value: string): number {
  const number = Number(value);
  if (number > 0 && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("Give a number of minutes above 0.");
}
