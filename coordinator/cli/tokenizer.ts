// `ringtune tokenizer train`: arguments and progress; the work is in data/train-tokenizer.ts.

import { Command, Option, wholeNumber } from "../../common/command-line.ts";
import { RingtuneError } from "../../common/errors.ts";
import { trainTokenizerCommand } from "../data/train-tokenizer.ts";
import { createProgress } from "../progress.ts";

interface Options {
  readonly out: string;
  readonly vocabSize: number;
  readonly textField: string;
  readonly for: "decoder" | "encoder";
  readonly force: boolean;
}

export function buildTokenizerCommand(): Command {
  const command = new Command("tokenizer").description("train a tokenizer that several runs can share");
  command
    .command("train")
    .description("learn a byte-level BPE from documents and write tokenizer.json, in Hugging Face's form")
    .argument("<source...>", '"sotu", or .txt, .md and .jsonl files or folders of them')
    .requiredOption("--out <dir>", "folder to write tokenizer.json and tokenizer_config.json to")
    .option(
      "--vocab-size <n>",
      "tokens of the vocabulary: 256 bytes, the special tokens, and merges",
      wholeNumber(257),
      4096,
    )
    .option("--text-field <name>", "field of a JSONL line that holds the text", "text")
    .addOption(
      new Option(
        "--for <kind>",
        "special tokens of a decoder (end of text) or of an encoder ([PAD], [CLS], [SEP], [MASK])",
      )
        .choices(["decoder", "encoder"])
        .default("decoder"),
    )
    .option("--force", "replace the files that are there", false)
    .action(train);
  return command;
}

async function train(sources: readonly string[], options: Options): Promise<void> {
  const progress = createProgress({ stream: process.stdout });
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    stop.abort(new RingtuneError("cancelled", `stopped by ${signal}; nothing was written`));
  };
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const { path } = await trainTokenizerCommand({
      ...options,
      sources,
      side: options.for,
      onNotice: (line) => progress.notice(line),
      onProgress: (state) => progress.data(state),
      signal: stop.signal,
    });
    progress.end();
    process.stdout.write(`written ${path}; use it in a configuration as tokenizer.from: ${options.out}\n`);
  } finally {
    progress.end();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}
