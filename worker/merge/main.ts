// `ringtune merge`: a run's adapter, or one of PEFT, folded into the weights of its model: a Hugging Face directory that
// needs no adapter any more. Reads two directories, writes a third.

import { copyFile, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { Command, makeStrict, runProgram } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { locateModel } from "../generate/locate-model.ts";
import { adapterConfigFile, isAdapter, readAdapterConfig, readWithAdapter } from "../model/adapter-files.ts";
import { writeModelDirectory } from "../model/huggingface.ts";

interface Options {
  readonly base?: string;
  readonly out: string;
}

/** What else a model directory has, from the first that has it. */
const companions = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
];

const command = new Command("ringtune merge")
  .description("Fold a trained adapter into its model.")
  .argument("<adapter>", "a run directory that trained an adapter, one of its checkpoints, or an adapter of PEFT")
  .option("--base <dir>", "the model that the adapter belongs to, instead of the one that it names")
  .requiredOption("--out <dir>", "where to write the model; must not exist or be empty")
  .action(run);

async function run(path: string, { base, out }: Options): Promise<void> {
  const directory = await locateModel(path);
  if (!(await isAdapter(directory))) {
    throw new RingtuneError("usage", `${directory} has no ${adapterConfigFile}: it is a model already, not an adapter`);
  }
  const there = await readdir(out).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    throw new RingtuneError("usage", `cannot write to ${out}: ${cause.code}`, { cause });
  });
  if (there.length > 0) {
    throw new RingtuneError(
      "usage",
      `${out} holds ${there.length} files already and is left as it is; choose another --out`,
    );
  }
  const loaded = await readWithAdapter(directory, base);
  await mkdir(out, { recursive: true });
  const model = base ?? (await readAdapterConfig(directory)).base ?? directory;
  for (const name of companions) await copyFirst(name, [directory, model], out);
  await writeModelDirectory(out, loaded);
  process.stdout.write(`merged ${directory} into ${model}: ${out}\n`);
}

async function copyFirst(name: string, folders: readonly string[], into: string): Promise<void> {
  for (const folder of folders) {
    try {
      return await copyFile(join(folder, name), join(into, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

await runProgram("ringtune merge", async () => {
  await makeStrict(command).parseAsync();
});
