// `ringtune config`: the schema, the reference, and what a file means with every default filled in. Runs nothing.

import { collect, Command } from "../../common/command-line.ts";
import { configJsonSchema } from "../../common/config/fields.ts";
import { formatConfig, loadConfig } from "../../common/config/load.ts";
import { configReference } from "../../common/config/reference.ts";

export function buildConfigCommand(): Command {
  const command = new Command("config").description("check a configuration, or print its schema and reference");
  command
    .command("check")
    .description("print a configuration with every default filled in, or everything that is wrong with it")
    .argument("<config>", "YAML file")
    .option("--set <path=value>", "change a setting, such as train.learning_rate=3e-4 (repeatable)", collect, [])
    .action(async (path: string, options: { readonly set: readonly string[] }) => {
      process.stdout.write(formatConfig(await loadConfig({ path, overrides: options.set })));
    });
  command
    .command("schema")
    .description("print the JSON Schema of a configuration, for editors")
    .action(() => {
      process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
    });
  command
    .command("docs")
    .description("print the reference of all settings as Markdown")
    .action(() => {
      process.stdout.write(configReference());
    });
  return command;
}
