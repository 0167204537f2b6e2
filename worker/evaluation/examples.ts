// Lines with labels as examples to measure a model on: what it reads, and what it should say. A label is the name of one of
// the model's, or its index.

import { RingtuneError } from "../../common/errors.ts";
import { encodeText, encodeWords, type Encoded } from "./encode.ts";
import type { LabelHead } from "./label-predictions.ts";
import type { Classifier } from "./open-classifier.ts";
import { textOf, wordsIn, type Line } from "./read-lines.ts";

export interface Example {
  readonly encoded: Encoded;
  /** The label's index; 0 or 1 for every label; or the index of each word's tag. */
  readonly targets: readonly number[];
}

export interface Fields {
  readonly textField?: string;
  readonly pairField?: string;
  readonly labelField?: string;
  readonly tokensField?: string;
  readonly tagsField?: string;
}

/** Throws `data_invalid` that names the line, the field and the labels that there are. */
export function createExampleReader(
  { tokenizer, longest, labels, head, config }: Classifier,
  fields: Fields,
): (line: Line) => Example {
  const data = config?.data;
  const textField = fields.textField ?? data?.text_field ?? "text";
  const pairField = fields.pairField ?? data?.pair_field;
  const labelField = fields.labelField ?? data?.label_field ?? "label";
  const tokensField = fields.tokensField ?? data?.tokens_field ?? "tokens";
  const tagsField = fields.tagsField ?? data?.tags_field ?? "tags";

  const valueIn = ({ where, value }: Line, field: string): unknown => {
    if (typeof value === "object" && value[field] !== undefined) return value[field];
    throw new RingtuneError(
      "data_invalid",
      `${where}: there is no "${field}"; evaluation needs JSON objects with labels`,
    );
  };
  const labelOf = (where: string, field: string, value: unknown): number => {
    const byName = labels.indexOf(String(value));
    const id = byName === -1 && typeof value === "number" ? value : byName;
    if (Number.isInteger(id) && id >= 0 && id < labels.length) return id;
    const known = labels.length <= 12 ? labels.join(", ") : `${labels.slice(0, 12).join(", ")}, ...`;
    throw new RingtuneError(
      "data_invalid",
      `${where}: "${field}" is ${JSON.stringify(value)}, none of the model's ${labels.length} labels (${known})`,
    );
  };
  const listIn = (line: Line, field: string): readonly unknown[] => {
    const list = valueIn(line, field);
    if (Array.isArray(list)) return list;
    throw new RingtuneError("data_invalid", `${line.where}: "${field}" is not a list`);
  };

  return (line) => {
    const { where } = line;
    if (head.kind === "token-classification") {
      const tags = listIn(line, tagsField).map((tag) => labelOf(where, tagsField, tag));
      const words = wordsIn(line, tokensField) ?? [];
      if (words.length !== tags.length || words.length === 0) {
        const both = `"${tagsField}" has ${tags.length} entries for ${words.length} of "${tokensField}"`;
        throw new RingtuneError("data_invalid", `${where}: ${both}`);
      }
      return { encoded: encodeWords(tokenizer, longest, words), targets: tags };
    }
    const pair = pairField === undefined ? undefined : textOf(line, pairField);
    const encoded = encodeText(tokenizer, longest, textOf(line, textField), pair);
    if (!head.multiLabel) return { encoded, targets: [labelOf(where, labelField, valueIn(line, labelField))] };
    const ids = new Set(listIn(line, labelField).map((label) => labelOf(where, labelField, label)));
    return { encoded, targets: labels.map((_, id) => (ids.has(id) ? 1 : 0)) };
  };
}

/** Of a microbatch of `length` tokens a row, in the form of the model's head; see Head. */
export function targetsOf(examples: readonly Example[], length: number, head: LabelHead): Int32Array {
  if (head.kind === "sequence-classification") return Int32Array.from(examples.flatMap(({ targets }) => targets));
  const flat = new Int32Array(examples.length * length).fill(-100);
  for (const [row, { encoded, targets }] of examples.entries()) {
    for (const [word, token] of encoded.words.entries()) {
      if (token !== -1) flat[row * length + token] = targets[word] ?? -100;
    }
  }
  return flat;
}
