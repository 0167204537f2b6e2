// `ringtune coordinator`: the coordinator alone; its workers are started by hand, here or elsewhere.

import { Command } from "../../common/command-line.ts";
import { runCommand, withRunOptions, type RunCommandOptions } from "./train.ts";

export function buildCoordinatorCommand(): Command {
  return withRunOptions(new Command("coordinator"))
    .description("coordinate a run whose workers are started by hand (ringtune worker)")
    .action((config: string | undefined, options: RunCommandOptions) => runCommand(config, options, "coordinator"));
}
