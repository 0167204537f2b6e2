// Texts, or pairs of texts, with a label or several: the samples of sequence classification. The tokenizer's special tokens
// stand around a text; one that is too long loses its end.

import type { Config } from "../../common/config/schema.ts";
import { fillTemplate } from "../../common/sequence-template.ts";
import type { ResolvedTask } from "../../common/task.ts";
import { encoderTemplate } from "../../common/tokenizer.ts";
import { createLabelReader } from "./labels.ts";
import { fieldOf, listIn, RecordProblem, textIn, type DataRecord } from "./records.ts";
import type { SampleMaker } from "./sample-maker.ts";

export interface ClassificationExample {
  readonly text: string;
  /** The second text of a pair. */
  readonly pair: string | undefined;
  /** The index of the label, or 0 or 1 for every label. */
  readonly targets: readonly number[];
}

type Fields = Pick<Config["data"], "text_field" | "pair_field" | "label_field">;

/** The values of a line's labels as they stand there. */
export function labelValues(record: DataRecord, { label_field: field }: Fields, multiLabel: boolean): unknown[] {
  return multiLabel ? [...listIn(record, field)] : [fieldOf(record.value, field)];
}

export function createClassification(task: ResolvedTask, fields: Fields): SampleMaker<ClassificationExample> {
  const { labels, multiLabel } = task;
  const { text_field: textField, pair_field: pairField, label_field: labelField } = fields;
  const labelOf = createLabelReader(labels);
  return {
    targetsPerRow: multiLabel ? labels.length : 1,
    causal: false,
    key: ["classification", textField, pairField ?? "", labelField, String(multiLabel), ...labels],
    read(record) {
      const ids = labelValues(record, fields, multiLabel).map((value) => {
        const found = labelOf(value);
        if ("problem" in found) throw new RecordProblem(`"${labelField}" is ${found.problem}`);
        return found.id;
      });
      return {
        text: textIn(record, textField),
        pair: pairField === undefined ? undefined : textIn(record, pairField),
        targets: multiLabel ? labels.map((_, id) => (ids.includes(id) ? 1 : 0)) : ids,
      };
    },
    label: ({ targets }) => (multiLabel ? undefined : labels[targets[0] ?? 0]),
    texts: ({ text, pair }) => (pair === undefined ? [text] : [text, pair]),
    make({ text, pair, targets }, tokenizer, longest) {
      if (text.trim() === "" && (pair ?? "").trim() === "") return "empty";
      const [a, b] = [tokenizer.encode(text), pair === undefined ? undefined : tokenizer.encode(pair)];
      if (a.length + (b?.length ?? 0) === 0) return "empty";
      const { ids, types, cut } = fillTemplate(encoderTemplate(tokenizer), longest, a, b);
      return { ids, types, targets, truncated: cut > 0 };
    },
  };
}
