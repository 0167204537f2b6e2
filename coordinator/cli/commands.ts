// The commands of `ringtune`: what each is for, and where it is. A command's code is loaded when it is called, so that
// help and mistakes are answered at once.

import { Command, makeStrict } from "../../common/command-line.ts";
import { listOf, nearest } from "../../common/config/nearest.ts";
import { RingtuneError } from "../../common/errors.ts";
import { packageVersion } from "../../common/package-root.ts";
import { runWorkerProgram, type WorkerProgram } from "./worker-program.ts";

interface Entry {
  readonly name: string;
  /** As in the help of all commands. */
  readonly usage: string;
  readonly summary: string;
  readonly group: string;
  /** A command of the coordinator's side, or a program of the worker's side that reads its arguments itself. */
  readonly run: (() => Promise<Command>) | WorkerProgram;
  /** Subcommands that are programs of the worker's side. */
  readonly programs?: Readonly<Record<string, WorkerProgram>>;
}

const entries: readonly Entry[] = [
  {
    name: "train",
    usage: "CONFIG.yaml",
    summary: "train a model: a coordinator and one worker process for each device of this machine",
    group: "Train and use a model:",
    run: async () => (await import("./train.ts")).buildTrainCommand(),
  },
  {
    name: "launch",
    usage: "CONFIG.yaml --hosts a,b",
    summary: "the same with workers on other hosts, started over ssh",
    group: "Train and use a model:",
    run: async () => (await import("./launch.ts")).buildLaunchCommand(),
  },
  {
    name: "generate",
    usage: "RUN",
    summary: "write text with a trained model",
    group: "Train and use a model:",
    run: "generate/main",
  },
  {
    name: "predict",
    usage: "RUN [TEXT...]",
    summary: "classify texts, or tag their words, with a trained model",
    group: "Train and use a model:",
    run: "predict/main",
  },
  {
    name: "evaluate",
    usage: "RUN --data FILE",
    summary: "measure a trained model on data with labels",
    group: "Train and use a model:",
    run: "evaluate/main",
  },
  {
    name: "merge",
    usage: "RUN --out DIR",
    summary: "fold a trained adapter into its model",
    group: "Train and use a model:",
    run: "merge/main",
  },
  {
    name: "export",
    usage: "RUN --out DIR",
    summary: "write a trained model as a directory of its own, also in 16 bits or in shards",
    group: "Train and use a model:",
    run: "export/main",
  },
  {
    name: "coordinator",
    usage: "CONFIG.yaml",
    summary: "coordinate a run whose workers are started by hand",
    group: "The parts of a run, each on a terminal of its own:",
    run: async () => (await import("./coordinator.ts")).buildCoordinatorCommand(),
  },
  {
    name: "worker",
    usage: "--coordinator HOST:PORT",
    summary: "compute for a coordinator",
    group: "The parts of a run, each on a terminal of its own:",
    run: "main",
  },
  {
    name: "host",
    usage: "",
    summary: "start workers as ringtune launch says, which starts this on each host",
    group: "The parts of a run, each on a terminal of its own:",
    run: async () => (await import("./host.ts")).buildHostCommand(),
  },
  {
    name: "certs",
    usage: "init",
    summary: "make certificates for workers on other hosts",
    group: "Prepare and check:",
    run: async () => (await import("./certs.ts")).buildCertsCommand(),
  },
  {
    name: "status",
    usage: "RUN",
    summary: "show the workers of a run that is going on",
    group: "A run that is going on:",
    run: async () => (await import("./admin.ts")).buildStatusCommand(),
  },
  {
    name: "watch",
    usage: "RUN",
    summary: "the same on one screen, with rates and the loss, until the run ends",
    group: "A run that is going on:",
    run: async () => (await import("./watch.ts")).buildWatchCommand(),
  },
  {
    name: "logs",
    usage: "RUN [WORKER]",
    summary: "what happened in a run, or to one of its workers",
    group: "A run that is going on:",
    run: async () => (await import("./logs.ts")).buildLogsCommand(),
  },
  {
    name: "trace",
    usage: "RUN",
    summary: "its last steps as a picture of who did what when, for ui.perfetto.dev",
    group: "A run that is going on:",
    run: async () => (await import("./trace.ts")).buildTraceCommand(),
  },
  {
    name: "scale",
    usage: "RUN WORKERS",
    summary: "go on with more or fewer workers",
    group: "A run that is going on:",
    run: async () => (await import("./admin.ts")).buildScaleCommand(),
  },
  {
    name: "drain",
    usage: "RUN WORKER",
    summary: "let a worker finish its step and go",
    group: "A run that is going on:",
    run: async () => (await import("./admin.ts")).buildDrainCommand(),
  },
  {
    name: "stop",
    usage: "RUN",
    summary: "save what is committed and end the run",
    group: "A run that is going on:",
    run: async () => (await import("./admin.ts")).buildStopCommand(),
  },
  {
    name: "token",
    usage: "RUN",
    summary: "make a join token for a newcomer, which expires",
    group: "A run that is going on:",
    run: async () => (await import("./admin.ts")).buildTokenCommand(),
  },
  {
    name: "baseline",
    usage: "CONFIG.yaml",
    summary: "what a bag of words does with the data of a classification, before anything is trained",
    group: "Prepare and check:",
    run: async () => (await import("./baseline.ts")).buildBaselineCommand(),
  },
  {
    name: "doctor",
    usage: "[CONFIG.yaml]",
    summary: "look whether this machine can train, or a configuration on it",
    group: "Prepare and check:",
    run: async () => (await import("./doctor.ts")).buildDoctorCommand(),
  },
  {
    name: "config",
    usage: "check|schema|docs",
    summary: "check a configuration, or print its schema and reference",
    group: "Prepare and check:",
    run: async () => (await import("./config.ts")).buildConfigCommand(),
  },
  {
    name: "metrics",
    usage: "",
    summary: "print the reference of all metrics as Markdown",
    group: "Prepare and check:",
    run: async () => (await import("./metrics.ts")).buildMetricsCommand(),
  },
  {
    name: "tokenizer",
    usage: "train SOURCE...",
    summary: "train a tokenizer that several runs can share",
    group: "Prepare and check:",
    run: async () => (await import("./tokenizer.ts")).buildTokenizerCommand(),
  },
  {
    name: "bench",
    usage: "allreduce|load|throughput",
    summary: "measure sums of gradients, a coordinator with many workers, and training with more and more",
    group: "Prepare and check:",
    run: async () => (await import("./bench.ts")).buildBenchCommand(),
    programs: { allreduce: "bench/main" },
  },
  {
    name: "chaos",
    usage: "CONFIG.yaml",
    summary: "train under seeded faults on real processes, and check that nothing was lost",
    group: "Prepare and check:",
    run: async () => (await import("./chaos.ts")).buildChaosCommand(),
  },
  {
    name: "fixtures",
    usage: "DIR",
    summary: "compare this machine's engines with reference numbers",
    group: "Prepare and check:",
    run: "fixtures/main",
  },
];

const firstSteps = `
First steps:
  ringtune train examples/sotu.yaml                     train a small GPT on two centuries of speeches
  ringtune generate runs/NAME --prompt "My fellow"      let it speak
  ringtune train --resume runs/NAME                     go on where a run was stopped
  ringtune config check examples/own-text.yaml          see every setting, to train on your own text

Every command explains itself: ringtune COMMAND --help`;

/** Runs `ringtune ...args` to its exit code. Throws RingtuneError `usage` for a wrong command line. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  // `help train` is `train --help`, so that a command's own code answers.
  const asked = args[0] === "help" ? (args[1] === undefined ? ["--help"] : [args[1], "--help"]) : args;
  const [name] = asked;
  const called = entries.find((entry) => entry.name === name);
  const program = typeof called?.run === "string" ? called.run : called?.programs?.[asked[1] ?? ""];
  if (program !== undefined) return runWorkerProgram(program, asked.slice(1));
  if (called === undefined && name !== undefined && !name.startsWith("-")) throw unknownCommand(name);

  const commandLine = new Command("ringtune")
    .description(
      "Fine-tunes language models on every GPU you own: a coordinator, and a worker process for each device.",
    )
    .usage("COMMAND [arguments]")
    .version(packageVersion, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand(false)
    .addHelpText("after", firstSteps);
  for (const entry of entries) {
    const command = entry === called && typeof entry.run === "function" ? await entry.run() : outline(entry);
    commandLine.addCommand(command.helpGroup(entry.group));
  }
  makeStrict(commandLine);
  if (args.length === 0) {
    commandLine.outputHelp({ error: true });
    return 2;
  }
  await commandLine.parseAsync(asked, { from: "user" });
  return 0;
}

function unknownCommand(name: string): RingtuneError {
  const names = entries.map((entry) => entry.name);
  const meant = nearest(name, names);
  const hint = meant === undefined ? `the commands are ${listOf(names, "and")}` : `did you mean ${meant}?`;
  return new RingtuneError("usage", `unknown command ${JSON.stringify(name)}; ${hint}`);
}

/** A command as the help of all commands shows it. */
function outline({ name, usage, summary }: Entry): Command {
  return new Command(name).usage(usage).description(summary);
}
