// What a task does with a line of its data: reads it as an example, and makes a sample of that with the tokenizer. The
// tasks implement it, supervised.ts uses it.

import type { Tokenizer } from "../../common/tokenizer.ts";
import type { DataRecord } from "./records.ts";
import type { Sample } from "./samples.ts";

/** Why an example is no sample. */
export type Dropped = "empty" | "too long";

export interface MadeSample extends Sample {
  /** Whether tokens were left out to fit the sequence length. */
  readonly truncated: boolean;
}

export interface SampleMaker<Example> {
  /** Targets of a sample; see SampleDataset. */
  readonly targetsPerRow: "tokens" | number;
  /** Whether a decoder learns from the samples. */
  readonly causal: boolean;
  /** Changes when the same lines would give other samples. */
  readonly key: readonly (string | number)[];
  /** Throws RecordProblem for a line that can't be used. */
  read(record: DataRecord): Example;
  /** What a tokenizer is trained on. */
  texts(example: Example): readonly string[];
  /** The one label that an example has, by name: each label has its share in both parts of the data. */
  label(example: Example): string | undefined;
  /** At most `longest` tokens. */
  make(example: Example, tokenizer: Tokenizer, longest: number): MadeSample | Dropped;
}
