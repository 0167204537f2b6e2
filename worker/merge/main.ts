// `ringtune merge`: a run's adapter, or one of PEFT, folded into the weights of its model: a Hugging Face directory that
// needs no adapter any more. Reads two directories, writes a third.

import { Command, makeStrict, runProgram } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { assertEmpty, withOutputOptions, writeOut, type OutputOptions } from "../export/write-out.ts";
import { locateModel } from "../generate/locate-model.ts";
import { adapterConfigFile, isAdapter, locateBase, readWithAdapter } from "../model/adapter-files.ts";

interface Options extends OutputOptions {
  readonly base?: string;
}

const command = withOutputOptions(
  new Command("ringtune merge")
    .description("Fold a trained adapter into its model.")
    .argument("<adapter>", "a run directory that trained an adapter, one of its checkpoints, or an adapter of PEFT")
    .option("--base <model>", "the model that the adapter belongs to, instead of the one that it names"),
).action(run);

async function run(path: string, options: Options): Promise<void> {
  const directory = await locateModel(path);
  if (!(await isAdapter(directory))) {
    const sentence = `${directory} has no ${adapterConfigFile}: it is a model already, not an adapter; ringtune export copies it`;
    throw new RingtuneError("usage", sentence);
  }
  await assertEmpty(options.out);
  const base = await locateBase(directory, options.base);
  await writeOut(await readWithAdapter(directory, base), [directory, base], options);
  process.stdout.write(`merged ${directory} into ${base}: ${options.out}\n`);
}

await runProgram("ringtune merge", async () => {
  await makeStrict(command).parseAsync();
});
