// `ringtune generate`: text from a trained model, streamed as it comes. Reads a run or a model directory, changes nothing.

import { availableParallelism } from "node:os";
import {
  Command,
  InvalidArgumentError,
  makeStrict,
  Option,
  runProgram,
  wholeNumber,
} from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { createRandom } from "../../common/random.ts";
import { prefixOf } from "../../common/sequence-template.ts";
import { createTextStream } from "../../common/text-stream.ts";
import { loadTokenizer } from "../../common/tokenizer.ts";
import { createEngine } from "../engine/create-engine.ts";
import { readWithAdapter } from "../model/adapter-files.ts";
import { generateTokens } from "./generate.ts";
import { locateModel } from "./locate-model.ts";

interface Options {
  readonly prompt: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly engine: "onnx" | "tfjs";
  readonly base?: string;
}

const command = new Command("ringtune generate")
  .description("Write text with a trained model.")
  .argument(
    "<run>",
    "a run directory (its best checkpoint, else the latest), a checkpoint, or a Hugging Face model directory",
  )
  .option("--prompt <text>", "what the text begins with; empty begins a new document", "")
  .option("--tokens <n>", "most tokens to write", wholeNumber(0), 100)
  .option("--temperature <x>", "0 takes the most likely token, 1 samples as the model predicts", atLeastZero, 0.8)
  .option("--top-k <n>", "sample from the so many most likely tokens; 0 allows all", wholeNumber(0), 40)
  .option("--top-p <x>", "sample from the most likely tokens that make up this share; 1 allows all", share, 1)
  .option("--seed <n>", "the same seed writes the same text", wholeNumber(0), 0)
  .option("--base <dir>", "the model that an adapter belongs to, instead of the one that it names")
  .addOption(new Option("--engine <name>", "what computes").choices(["onnx", "tfjs"]).default("onnx"))
  .action(run);

async function run(path: string, options: Options): Promise<void> {
  const directory = await locateModel(path);
  const tokenizer = await loadTokenizer(directory);
  const { model, parameters } = await readWithAdapter(directory, options.base);
  const { vocabularySize: rows, maxLength: positions } = model;
  if (model.head.kind !== "causal-lm") {
    const message = `the model in ${directory} has a ${model.head.kind} head; only causal language models write text`;
    throw new RingtuneError("model_mismatch", message, { details: { directory, head: model.head.kind } });
  }
  if (tokenizer.vocabSize > rows) {
    throw new RingtuneError(
      "model_mismatch",
      `the tokenizer in ${directory} has ${tokenizer.vocabSize} tokens, the model ${rows}; they do not belong together`,
      { details: { directory, tokenizer: tokenizer.vocabSize, model: rows } },
    );
  }
  const prompt = [...prefixOf(tokenizer.template), ...tokenizer.encode(options.prompt)];
  const length = prompt.length + options.tokens;
  if (prompt.length > positions) {
    say(`the prompt is ${prompt.length} tokens long, the model sees the last ${positions}`);
  } else if (length > positions) {
    say(`prompt and text may reach ${length} tokens; from ${positions} on the model sees the last ${positions}`);
  }
  const engine = await createEngine({
    kind: options.engine,
    model,
    parameters,
    threads: availableParallelism(),
  });
  try {
    const tokens = generateTokens(prompt, {
      engine,
      positions,
      vocabSize: tokenizer.vocabSize,
      eosId: tokenizer.eosId,
      count: options.tokens,
      sampling: options,
      random: createRandom(options.seed, "generate"),
    });
    const text = createTextStream(tokenizer);
    process.stdout.write(options.prompt);
    for await (const token of tokens) process.stdout.write(text.push(token));
    process.stdout.write(`${text.end()}\n`);
  } finally {
    await engine.close();
  }
}

function atLeastZero(value: string): number {
  const number = Number(value);
  if (value.trim() === "" || !(number >= 0 && number < Infinity))
    throw new InvalidArgumentError("Give a number from 0.");
  return number;
}

function share(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number <= 1)) throw new InvalidArgumentError("Give a number above 0, at most 1.");
  return number;
}

function say(sentence: string): void {
  process.stderr.write(`ringtune generate: ${sentence}\n`);
}

process.stdout.on("error", () => process.exit(1)); // whoever read the text has gone: `| head`

await runProgram("ringtune generate", async () => {
  await makeStrict(command).parseAsync();
});
