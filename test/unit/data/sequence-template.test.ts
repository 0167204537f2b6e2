import { expect, test } from "vitest";
import { fillTemplate, prefixOf, readTemplate, type SequenceTemplate } from "../../../common/sequence-template.ts";

const processing = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [
    { SpecialToken: { id: "<s>", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "<s>", type_id: 1 } },
    { Sequence: { id: "B", type_id: 1 } },
  ],
  special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
};

function template(postProcessor: unknown): SequenceTemplate {
  const found = readTemplate(postProcessor);
  if (found === undefined) throw new Error("no template");
  return found;
}

const bert = template({ type: "BertProcessing", sep: ["[SEP]", 102], cls: ["[CLS]", 101] });

test("reads the post-processors of BERT, RoBERTa and LLaMA, also inside a sequence", () => {
  expect(fillTemplate(bert, 9, [1, 2], [3])).toEqual({
    ids: [101, 1, 2, 102, 3, 102],
    types: [0, 0, 0, 0, 1, 1],
    cut: 0,
  });
  const roberta = template({ type: "RobertaProcessing", sep: ["</s>", 2], cls: ["<s>", 0] });
  expect(fillTemplate(roberta, 9, [7], [8])).toEqual({ ids: [0, 7, 2, 2, 8, 2], types: [0, 0, 0, 0, 0, 0], cut: 0 });
  const llama = template({ type: "Sequence", processors: [{ type: "ByteLevel" }, processing] });
  expect(fillTemplate(llama, 9, [7], [8])).toMatchObject({ ids: [1, 7, 1, 8], types: [0, 0, 1, 1] });
  expect(prefixOf(llama)).toEqual([1]);
  expect(readTemplate({ type: "ByteLevel" })).toBeUndefined();
  expect(readTemplate(null)).toBeUndefined();
  expect(prefixOf(undefined)).toEqual([]);
});

test("cuts the end of a text, and of a pair the longer one first", () => {
  expect(fillTemplate(bert, 4, [1, 2, 3])).toEqual({ ids: [101, 1, 2, 102], types: [0, 0, 0, 0], cut: 1 });
  const pair = (longest: number, a: number[], b: number[]) => fillTemplate(bert, longest, a, b).ids;
  expect(pair(7, [1, 2, 3, 4, 5], [9])).toEqual([101, 1, 2, 3, 102, 9, 102]);
  expect(pair(7, [1], [6, 7, 8, 9])).toEqual([101, 1, 102, 6, 7, 8, 102]);
  expect(pair(7, [1, 2, 3, 4], [6, 7, 8, 9])).toEqual([101, 1, 2, 102, 6, 7, 102]);
});
