// A trained model that classifies or tags, ready to be asked: from a run, a checkpoint or a model directory, adapters folded
// in. What `predict` and `evaluate` have in common.

import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Command, Option, wholeNumber } from "../../common/command-line.ts";
import { loadConfig } from "../../common/config/load.ts";
import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import { loadTokenizer, type Tokenizer } from "../../common/tokenizer.ts";
import { createEngine } from "../engine/create-engine.ts";
import type { Engine } from "../engine/engine.ts";
import { locateModel } from "../generate/locate-model.ts";
import { readWithAdapter } from "../model/adapter-files.ts";
import type { Model } from "../model/model.ts";
import { labelHead, labelsOf, type LabelHead } from "./label-predictions.ts";

export interface ModelOptions {
  readonly base?: string;
  readonly engine: "onnx" | "tfjs";
  readonly device: string;
  readonly maxLength?: number;
}

export interface Classifier {
  readonly directory: string;
  readonly model: Model;
  readonly head: LabelHead;
  /** In the order of the logits. */
  readonly labels: readonly string[];
  readonly tokenizer: Tokenizer;
  /** Tokens that it is given at most. */
  readonly longest: number;
  readonly engine: Engine;
  /** The configuration of the run that trained it, if it was named by its run. */
  readonly config: Config | undefined;
}

/** The argument and the options of commands that ask a model. */
export function withModelOptions(command: Command): Command {
  return command
    .argument(
      "<run>",
      "a run directory (its best checkpoint, else the latest), a checkpoint, or a Hugging Face model directory",
    )
    .option(
      "--max-length <n>",
      "most tokens of a text (default: what the run trained with, else what the model can)",
      wholeNumber(3),
    )
    .option("--base <dir>", "the model that an adapter belongs to, instead of the one that it names")
    .option("--device <name>", "execution provider of the engine", "auto")
    .addOption(new Option("--engine <name>", "what computes").choices(["onnx", "tfjs"]).default("onnx"));
}

/** Throws `model_mismatch` for a language model, and what locateModel, readWithAdapter and createEngine throw. */
export async function openClassifier(path: string, options: ModelOptions): Promise<Classifier> {
  const directory = await locateModel(path);
  const tokenizer = await loadTokenizer(directory);
  const { model, parameters } = await readWithAdapter(directory, options.base);
  const head = labelHead(model);
  if (head === undefined) {
    const message = `the model in ${directory} has a ${model.head.kind} head and no labels; ringtune generate is for models that write text`;
    throw new RingtuneError("model_mismatch", message, { details: { directory, head: model.head.kind } });
  }
  if (tokenizer.vocabSize > model.vocabularySize) {
    throw new RingtuneError(
      "model_mismatch",
      `the tokenizer in ${directory} has ${tokenizer.vocabSize} tokens, the model ${model.vocabularySize}; they do not belong together`,
      { details: { directory, tokenizer: tokenizer.vocabSize, model: model.vocabularySize } },
    );
  }
  const config = await configOf(path);
  const longest = options.maxLength ?? Math.min(config?.train.sequence_length ?? Infinity, model.maxLength);
  if (longest > model.maxLength) {
    throw new RingtuneError(
      "usage",
      `--max-length ${longest} is more than the ${model.maxLength} that ${model.name} can see`,
    );
  }
  const engine = await createEngine({
    ...{ kind: options.engine, device: options.device, model, parameters },
    threads: availableParallelism(),
  });
  return { directory, model, head, labels: labelsOf(model, head), tokenizer, longest, engine, config };
}

async function configOf(run: string): Promise<Config | undefined> {
  const path = join(run, "ringtune.yaml");
  const isThere = await stat(path).catch(() => undefined);
  return isThere === undefined ? undefined : loadConfig({ path });
}
