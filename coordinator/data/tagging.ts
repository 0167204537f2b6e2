// Lists of words with a tag each: the samples of token classification. A word's first token has its tag, its other tokens
// and the special ones have none, as in BERT's paper; words behind the sequence length are left out.

import type { Config } from "../../common/config/schema.ts";
import { fillTemplate, specialCount } from "../../common/sequence-template.ts";
import type { ResolvedTask } from "../../common/task.ts";
import { encoderTemplate } from "../../common/tokenizer.ts";
import { createLabelReader } from "./labels.ts";
import { kindOf } from "./jsonl.ts";
import { listIn, RecordProblem } from "./records.ts";
import type { SampleMaker } from "./sample-maker.ts";
import { ignoredTarget } from "./samples.ts";

export interface TaggingExample {
  readonly words: readonly string[];
  /** Index of the tag of each word. */
  readonly tags: readonly number[];
}

type Fields = Pick<Config["data"], "tokens_field" | "tags_field">;

export function createTagging({ labels }: ResolvedTask, fields: Fields): SampleMaker<TaggingExample> {
  const { tokens_field: tokensField, tags_field: tagsField } = fields;
  const labelOf = createLabelReader(labels);
  return {
    targetsPerRow: "tokens",
    causal: false,
    key: ["tagging", tokensField, tagsField, ...labels],
    read(record) {
      const words = listIn(record, tokensField).map((word, i) => {
        if (typeof word === "string") return word;
        throw new RecordProblem(`"${tokensField}" has ${kindOf(word)} as entry ${i}, instead of a string`);
      });
      const tags = listIn(record, tagsField).map((value, i) => {
        const found = labelOf(value);
        if ("problem" in found) throw new RecordProblem(`"${tagsField}" has as entry ${i} ${found.problem}`);
        return found.id;
      });
      if (words.length === tags.length) return { words, tags };
      throw new RecordProblem(`"${tagsField}" has ${tags.length} entries for ${words.length} of "${tokensField}"`);
    },
    label: () => undefined,
    texts: ({ words }) => [words.map((word) => ` ${word}`).join("")],
    make({ words, tags }, tokenizer, longest) {
      const tokens: number[] = [];
      const tagged: number[] = [];
      for (const [i, word] of words.entries()) {
        const ids = tokenizer.encodeWord(word);
        tokens.push(...ids);
        tagged.push(...ids.map((_, part) => (part === 0 ? (tags[i] ?? ignoredTarget) : ignoredTarget)));
      }
      const template = encoderTemplate(tokenizer);
      const { ids, types, cut } = fillTemplate(template, longest, tokens);
      const kept = tagged.slice(0, longest - specialCount(template.single));
      if (kept.every((target) => target === ignoredTarget)) return "empty";
      let next = 0;
      const targets = template.single.flatMap((piece) =>
        piece.kind === "special" ? [ignoredTarget] : kept.slice(next, (next = kept.length)),
      );
      return { ids, types, targets, truncated: cut > 0 };
    },
  };
}
