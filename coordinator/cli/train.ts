// `ringtune train`: a coordinator and its workers on this machine, from a configuration to a trained model.

import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { collect, Command, Option, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import type { Override } from "../../common/config/overrides.ts";
import type { Config } from "../../common/config/schema.ts";
import { assertNever, RingtuneError } from "../../common/errors.ts";
import type { ValidationRecord } from "../../common/records.ts";
import { createJsonProgress } from "../log/json-progress.ts";
import type { HostsRequest } from "../launch/hosts.ts";
import { createProgress } from "../progress.ts";
import { run, type RunResult } from "../run.ts";
import { significant } from "./quantities.ts";
import { readRunConfig } from "../store/run-directory.ts";

export interface RunCommandOptions {
  readonly set: readonly string[];
  /** What other options change. */
  readonly overrides?: readonly Override[];
  readonly resume?: string;
  readonly workers?: number;
  readonly insecure?: true;
  readonly log: "text" | "json";
}

export function buildTrainCommand(): Command {
  return withRunOptions(new Command("train"))
    .description("train a model: start a coordinator and one worker process for each device on this machine")
    .option("--workers <n>", "worker processes, instead of cluster.workers", wholeNumber(1))
    .action((config: string | undefined, options: RunCommandOptions) => runCommand(config, options, "train"));
}

/** What `train` and `coordinator` have in common. */
export function withRunOptions(command: Command): Command {
  return command
    .argument("[config]", "YAML file; with --resume, the run's own configuration when left out")
    .option("--set <path=value>", "change a setting, such as train.learning_rate=3e-4 (repeatable)", collect, [])
    .option("--insecure", "set cluster.insecure and metrics.insecure: listen beyond loopback unprotected")
    .option("--resume <run>", "go on with a run directory from its latest checkpoint")
    .addOption(
      new Option("--log <form>", "lines for people, or JSON with time, job, generation and step for programs")
        .choices(["text", "json"])
        .default("text"),
    );
}

/** Enough for 128 random bits in hexadecimal digits. */
const SHORTEST_TOKEN = 32;

/** A secret that was made before the run, so that workers can be started beside the coordinator. */
function givenToken(): { joinToken?: string } {
  const joinToken = process.env["RINGTUNE_JOIN_TOKEN"]?.trim() ?? "";
  if (joinToken === "") return {};
  if (joinToken.length >= SHORTEST_TOKEN) return { joinToken };
  throw new RingtuneError(
    "usage",
    `RINGTUNE_JOIN_TOKEN has ${joinToken.length} characters, and a join token at least ${SHORTEST_TOKEN}; make one: openssl rand -hex 24`,
  );
}

/** Runs to the end, prints where the results are, and throws what the exit code is to say. */
export async function runCommand(
  path: string | undefined,
  options: RunCommandOptions,
  command: "train" | "coordinator" | "launch",
  hosts?: HostsRequest,
): Promise<void> {
  const launch = command !== "coordinator";
  const config = await readConfig(path, options);
  const isJson = options.log === "json";
  const progress = isJson
    ? createJsonProgress(process.stdout)
    : createProgress({ stream: process.stdout, verbose: process.env["RINGTUNE_DEBUG"] === "1" });
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort(new RingtuneError("cancelled", `stopped by ${signal}`));
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    const { resume } = options;
    const request = {
      config,
      launch,
      ...(hosts === undefined ? {} : { hosts }),
      ...(launch ? {} : givenToken()),
      progress,
      signal: stop.signal,
      ...(resume === undefined ? {} : { resume }),
    };
    const result = await run(request);
    progress.end();
    const print = (text: string): unknown => (isJson ? progress.notice(text) : process.stdout.write(text));
    conclude(result, command, print);
  } finally {
    progress.end();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

/** The configuration with what the options change. Throws `usage` or `config_invalid`. */
export async function readConfig(path: string | undefined, options: RunCommandOptions): Promise<Config> {
  const overrides: Override[] = [...options.set];
  if (options.workers !== undefined) overrides.push({ option: "--workers", set: `cluster.workers=${options.workers}` });
  overrides.push(...(options.overrides ?? []));
  for (const set of options.insecure ? ["cluster.insecure=true", "metrics.insecure=true"] : []) {
    overrides.push({ option: "--insecure", set });
  }
  if (path !== undefined) return loadConfig({ path, overrides });
  if (options.resume === undefined) {
    throw new RingtuneError("usage", "name a configuration, such as examples/sotu.yaml, or a run with --resume");
  }
  await readRunConfig(options.resume); // says what is wrong with the run, if anything
  return loadConfig({ path: join(options.resume, "ringtune.yaml"), overrides });
}

function conclude(
  { outcome, checkpoint, validations, ...result }: RunResult,
  command: string,
  print: (text: string) => unknown,
): void {
  const directory = relative(process.cwd(), result.directory) || ".";
  const again = `ringtune ${command} --resume ${directory}`;
  switch (outcome.kind) {
    case "completed": {
      const hasBest = outcome.best !== undefined && existsSync(join(result.directory, "best"));
      const use = usageOf(result.task, directory);
      const model = join(directory, hasBest ? "best" : "latest");
      const best = hasBest ? `, the weights of step ${outcome.best}, which did best in validation` : "";
      const isAdapter = existsSync(join(result.directory, "latest", "adapter_config.json"));
      const form = isAdapter
        ? "an adapter for PEFT: adapter_config.json, adapter_model.safetensors"
        : "Hugging Face: config.json, safetensors, tokenizer.json";
      print(
        [
          `done: ${outcome.step} steps${improvement(validations)}${outcome.early === undefined ? "" : `; ${outcome.early}`}`,
          `  model    ${model}${best} (${form})`,
          `  metrics  ${join(directory, "metrics.jsonl")}`,
          `  curve    ${join(directory, "curve.svg")}`,
          ...(use === undefined ? [] : [`  try it   ringtune ${use}`]),
          ...(isAdapter ? [`  merge    ringtune merge ${directory} --out DIR`] : []),
          "",
        ].join("\n"),
      );
      return;
    }
    case "elsewhere":
      process.stdout.write(`the run ${directory} has ended, after step ${outcome.step}; another coordinator led it\n`);
      return;
    case "handed-over":
      throw new RingtuneError("cancelled", `${outcome.reason} after step ${outcome.step}`);
    case "stopped": {
      const left = outcome.step === 0 ? "before the first step" : `after step ${outcome.step}; go on with: ${again}`;
      throw new RingtuneError("cancelled", `${outcome.reason} ${left}`);
    }
    case "failed": {
      // A start that failed on the checkpoint itself would fail again.
      // Nor is it the way on for who was superseded, or lost etcd: there the run goes on, or waits, as it is.
      const elsewhere = outcome.code === "superseded" || outcome.code === "unavailable";
      const useless = checkpoint === undefined || outcome.code === "checkpoint_invalid" || elsewhere;
      if (outcome.code === "not_finite")
        throw new RingtuneError(outcome.code, `${outcome.reason}; ${goOn(checkpoint, again)}`);
      const left = useless ? "" : `; go on from the checkpoint of step ${checkpoint} with: ${again}`;
      throw new RingtuneError(outcome.code, `${outcome.reason}${left}`);
    }
  }
}

/** The command that asks the model what it has learned; there is none for models that fill in tokens. */
function usageOf(kind: RunResult["task"], directory: string): string | undefined {
  switch (kind) {
    case "language-modelling":
    case "instruction":
      return `generate ${directory} --prompt "..."`;
    case "classification":
    case "tagging":
      return `predict ${directory} "..."`;
    case "masked-lm":
      return undefined;
    default:
      return assertNever(kind);
  }
}

/** After numbers that were not finite, which the same settings would give again. */
function goOn(checkpoint: number | undefined, again: string): string {
  if (checkpoint === undefined) return "no checkpoint was written before";
  return `the last good checkpoint is that of step ${checkpoint}, go on from it with: ${again} --set train.learning_rate=...`;
}

/** ", validation f1 0.4512 -> 0.9706, accuracy 0.7100 -> 0.9835", or of a language model its perplexity. */
function improvement(validations: readonly ValidationRecord[]): string {
  const [first, last] = [validations.at(0), validations.at(-1)];
  if (first === undefined || last === undefined || validations.length < 2) return "";
  const { metrics } = last;
  if (metrics !== undefined) {
    const changes = (["f1", "accuracy"] as const).map(
      (name) => `${name} ${(first.metrics?.[name] ?? 0).toFixed(4)} -> ${metrics[name].toFixed(4)}`,
    );
    return `, validation ${changes.join(", ")}`;
  }
  const numbers = [first, last].map(({ perplexity }) => significant(perplexity, 4)).join(" -> ");
  const ratio = first.perplexity / last.perplexity;
  const times = Number.isFinite(ratio) ? ` (${significant(ratio, 3)} times lower)` : "";
  return `, validation perplexity ${numbers}${times}`;
}
