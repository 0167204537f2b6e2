// What the preparation of data gives, whatever the task: samples to train on and to validate, the tokenizer that they were
// made with, and an account of what was kept. Types, and the lines that a person reads.

import type { Config } from "../../common/config/schema.ts";
import type { ResolvedTask } from "../../common/task.ts";
import type { Tokenizer } from "../../common/tokenizer.ts";
import type { ModelConfig } from "../model-config.ts";
import type { InstructionFormat } from "./instruction.ts";
import { newTokenizerConfig, sideOf, type TokenizerFiles } from "./obtain-tokenizer.ts";
import type { ProgressOptions } from "./progress.ts";
import type { SampleDataset } from "./samples.ts";

export interface PrepareOptions extends ProgressOptions {
  /** Plain lines for the user: what was kept, left out, trained, found in the cache. */
  readonly onNotice: (line: string) => void;
  /** The run's own tokenizer when it is resumed; it takes the place of the config's. */
  readonly tokenizer?: TokenizerFiles | undefined;
  /** Of a run whose data are those that it began with: its samples come from the cache, if they are there, with `tokenizer`. */
  readonly made?: DataOrigin | undefined;
  /** The model that the run goes on from: its labels are the task's unless the config names others. */
  readonly model?: Pick<ModelConfig, "labels" | "tokenTypes"> | undefined;
}

/**
 * What the samples of a run were made of. With the tokenizer it says where the cache has them, so that a coordinator that
 * goes on with the run where it was need not read the documents again.
 */
export interface DataOrigin {
  /** Of the documents and how they were divided. */
  readonly key: readonly (string | number)[];
  readonly documents: PerPart;
  readonly characters: PerPart;
  /** Of the task, named or found. */
  readonly labels: readonly string[];
  /** Of the lines, where the task has several. */
  readonly format?: InstructionFormat | undefined;
}

export type DataConfig = Pick<Config, "task" | "data" | "tokenizer" | "train" | "model">;

export interface PreparedData {
  readonly train: SampleDataset;
  /** Null when data.validation_fraction is 0. */
  readonly validation: SampleDataset | null;
  readonly tokenizer: Tokenizer;
  /** What is learned, with the labels that were named or found. */
  readonly task: ResolvedTask;
  /** Contents of tokenizer_config.json for the run directory; `tokenizer.json` is the other file. */
  readonly tokenizerConfigJson: string;
  readonly summary: DataSummary;
  readonly origin: DataOrigin;
}

export interface PerPart {
  readonly train: number;
  readonly validation: number;
}

export interface DataSummary {
  /** Documents, or lines of supervised data. */
  readonly documents: PerPart;
  /** UTF-16 units, as JavaScript counts them. */
  readonly characters: PerPart;
  /** Targets of one epoch. */
  readonly tokens: PerPart;
  readonly samples: PerPart;
  /** Of both parts together; see docs/data.md for what drops and what truncates. */
  readonly dropped: { readonly empty: number; readonly tooLong: number };
  readonly truncated: number;
  /** Tokens that the model reads in one epoch and one validation. */
  readonly inputTokens: number;
  /** True when the tokens came from the cache. */
  readonly cached: boolean;
  readonly seconds: number;
  /** Of the tokens themselves: a resumed run must find the same one, or its samples are not those it began with. */
  readonly digest: string;
}

/** `perSecond` tokens were made; undefined when they came from the cache. */
export function* describeData(
  summary: DataSummary,
  { train }: Pick<Config, "train">,
  perSecond: number | undefined,
  what: "documents" | "lines",
): Generator<string> {
  const { documents, characters, tokens, samples, dropped, truncated, inputTokens } = summary;
  const count = (part: PerPart, what: string): string =>
    `${show(part.train)} ${what} to train on, ${show(part.validation)} to validate`;
  const speed = perSecond === undefined ? "from the cache" : `${show(perSecond)} tokens/s`;
  const targets = tokens.train + tokens.validation;
  const reasons = [
    dropped.empty > 0 ? `${show(dropped.empty)} empty` : "",
    dropped.tooLong > 0 ? `${show(dropped.tooLong)} with an answer longer than ${train.sequence_length} tokens` : "",
  ].filter((reason) => reason !== "");
  const why = reasons.length === 0 ? "" : ` (${reasons.join(", ")})`;
  yield `data: ${count(documents, what)} (${show(characters.train + characters.validation)} characters)`;
  yield `data: ${count(tokens, what === "documents" ? "tokens" : "targets")} (${speed})`;
  yield `data: ${show(samples.train + samples.validation)} samples kept, ${show(dropped.empty + dropped.tooLong)} dropped${why}, ${show(truncated)} truncated to ${train.sequence_length} tokens; ${show(targets)} targets in ${show(inputTokens)} tokens (${((100 * targets) / Math.max(1, inputTokens)).toPrecision(3)}%)`;
}

/** tokenizer_config.json as it was, or that of a tokenizer of our own. */
export function tokenizerConfigOf(config: DataConfig, tokenizer: Tokenizer): string {
  if (tokenizer.configJson !== undefined) return tokenizer.configJson;
  const longest = config.model.positions ?? config.train.sequence_length;
  return newTokenizerConfig(tokenizer.eosToken, longest, sideOf(config));
}

function show(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
