// `ringtune doctor`: whether this machine, and a configuration on it, would train; before anybody waits for it.

import { collect, Command, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import type { Config } from "../../common/config/schema.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { examineCluster } from "../doctor/cluster.ts";
import { examineData, examineDisk, examinePorts } from "../doctor/configuration.ts";
import { planDevices } from "../devices.ts";
import { runFakeCluster, runOneWorker } from "../doctor/dry-run.ts";
import { fail, formatFinding, ok, type Finding } from "../doctor/finding.ts";
import { examineLinks } from "../doctor/links.ts";
import { examineMemory } from "../doctor/memory.ts";
import { examineClock, examineGpus, examineProcessors, examineVersions } from "../doctor/machine.ts";
import { colorsFor } from "./colors.ts";

interface DoctorOptions {
  readonly set: readonly string[];
  readonly workers?: number;
  readonly fake?: boolean;
  readonly run?: string;
  readonly json?: boolean;
}

export function buildDoctorCommand(): Command {
  return new Command("doctor")
    .description("look whether this machine can train, or a configuration on it: nothing is changed, nothing stays")
    .argument("[config]", "YAML file of the run to come; without one only the machine is looked at")
    .option("--set <path=value>", "change a setting, such as train.learning_rate=3e-4 (repeatable)", collect, [])
    .option("--workers <n>", "workers of the run to come, instead of cluster.workers", wholeNumber(1))
    .option("--fake", "try the coordinator with so many pretended workers instead of one real one")
    .option(
      "--run <folder>",
      "look at a run that is going on instead: its workers' clocks, and the link between each two",
    )
    .option("--json", "print the findings as JSON")
    .action(runDoctor);
}

async function runDoctor(path: string | undefined, options: DoctorOptions): Promise<void> {
  if (options.fake === true && path === undefined) {
    throw new RingtuneError("usage", "--fake tries a configuration; name one, such as examples/sotu.yaml");
  }
  if (options.run !== undefined && path !== undefined) {
    throw new RingtuneError("usage", `--run looks at a run that is going on, not at ${path}; leave one of the two out`);
  }
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  const colors = colorsFor(process.stdout);
  const findings: Finding[] = [];
  for await (const finding of examine(path, options, stop.signal)) {
    findings.push(finding);
    if (options.json !== true) process.stdout.write(`${formatFinding(finding, colors)}\n`);
  }
  if (options.json === true) process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
  const failures = findings.filter(({ level }) => level === "fail").length;
  if (failures === 0) return;
  throw new RingtuneError("config_invalid", `${failures} of ${findings.length} findings would end a run`);
}

/** One after another, cheap ones first, so that a person sees at once what is wrong. */
async function* examine(
  path: string | undefined,
  { set, workers, fake, run }: DoctorOptions,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  if (run !== undefined) return yield* await examineCluster(run, signal);
  yield* await examineVersions();
  yield* await examineGpus();
  yield* await examineClock();
  let config: Config | undefined;
  if (path !== undefined) {
    try {
      const own = workers === undefined ? [] : [{ option: "--workers", set: `cluster.workers=${workers}` }];
      config = await loadConfig({ path, overrides: [...set, ...own] });
      yield ok("config", `${path} is valid`);
    } catch (error) {
      yield fail("config", describeError(error));
    }
  }
  if (config === undefined) {
    yield* examineProcessors(workers ?? 1);
    return yield* await examineLinks(signal);
  }
  const devices = await planDevices(config);
  const count = `${devices.workers} worker${devices.workers === 1 ? "" : "s"} would be started`;
  yield ok("devices", [count, ...devices.notices].join("; "));
  if (fake !== true) yield* examineProcessors(devices.workers);
  yield* await examinePorts(config);
  yield* await examineLinks(signal);
  const { findings, data } = await examineData(config);
  yield* findings;
  signal.throwIfAborted();
  if (data === undefined) return;
  if (fake === true) return yield* await runFakeCluster(config, workers ?? devices.workers, signal);
  const memory = await examineMemory(config, data, devices);
  yield* memory;
  // What has no room would drive everything else out before it fails.
  if (memory.some(({ level }) => level === "fail")) return;
  const { findings: found, checkpointBytes } = await runOneWorker(config, devices.workers, signal);
  yield* found;
  if (checkpointBytes !== undefined) yield* await examineDisk(config, checkpointBytes);
}
