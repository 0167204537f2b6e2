// `ringtune export`: a run's model, or any model directory, as a directory of its own: in half the bytes, in shards, without
// the optimizer's state. An adapter is folded in on the way.

import { Command, makeStrict, runProgram } from "../../common/command-line.ts";
import { locateModel } from "../generate/locate-model.ts";
import { isAdapter, locateBase, readWithAdapter } from "../model/adapter-files.ts";
import { assertEmpty, withOutputOptions, writeOut, type OutputOptions } from "./write-out.ts";

const command = withOutputOptions(
  new Command("ringtune export")
    .description("Write a trained model as a Hugging Face directory.")
    .argument("<model>", "a run directory, one of its checkpoints, or a model directory"),
).action(run);

async function run(path: string, options: OutputOptions): Promise<void> {
  await assertEmpty(options.out);
  const directory = await locateModel(path);
  const folders = (await isAdapter(directory)) ? [directory, await locateBase(directory)] : [directory];
  await writeOut(await readWithAdapter(directory), folders, options);
  process.stdout.write(`wrote ${directory} as ${options.dtype}: ${options.out}\n`);
}

await runProgram("ringtune export", async () => {
  await makeStrict(command).parseAsync();
});
