// What a model says of texts, as values to print or to count: labels with their probabilities, tags of words. One
// microbatch a call.

import { entitiesOf, entityTypes } from "../../common/evaluation/entities.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { Classifier } from "./open-classifier.ts";
import { batchOf, encodeText, encodeWords, type Encoded } from "./encode.ts";
import { argmax, sigmoid, softmax } from "./label-predictions.ts";

export interface TextInput {
  readonly text: string;
  readonly pair?: string | undefined;
}

/** Of a text. With several labels a text `labels` has any number of them, else one. */
export interface LabelAnswer {
  readonly labels: readonly string[];
  /** Of all labels, in order. */
  readonly probabilities: readonly number[];
  readonly cut: number;
}

/** Of a list of words; those that did not fit have no tag. */
export interface TagAnswer {
  readonly tags: readonly string[];
  /** Of each tag. */
  readonly probabilities: readonly number[];
  readonly entities: readonly { readonly type: string; readonly start: number; readonly end: number }[];
  readonly cut: number;
}

export async function classifyTexts(classifier: Classifier, texts: readonly TextInput[]): Promise<LabelAnswer[]> {
  const { tokenizer, longest, labels, head } = classifier;
  const encoded = texts.map(({ text, pair }) => encodeText(tokenizer, longest, text, pair));
  const { logits } = await logitsOf(classifier, encoded);
  const isMultiLabel = head.kind === "sequence-classification" && head.multiLabel;
  return encoded.map(({ cut }, row) => {
    const own = logits.subarray(row * labels.length, (row + 1) * labels.length);
    const probabilities = isMultiLabel ? sigmoid(own) : softmax(own);
    const said = isMultiLabel ? labels.filter((_, i) => own[i]! > 0) : [labels[argmax(own)]!];
    return { labels: said, probabilities, cut };
  });
}

export async function tagWords(classifier: Classifier, lists: readonly (readonly string[])[]): Promise<TagAnswer[]> {
  const { tokenizer, longest, labels } = classifier;
  const encoded = lists.map((words) => encodeWords(tokenizer, longest, words));
  const { logits, length } = await logitsOf(classifier, encoded);
  const marksEntities = entityTypes(labels) !== undefined;
  return encoded.map(({ words, cut }, row) => {
    const said = words.map((token) => {
      if (token === -1) return { tag: "O", probability: 1 }; // nothing of the word is left to be an entity
      const at = (row * length + token) * labels.length;
      const own = logits.subarray(at, at + labels.length);
      const tag = argmax(own);
      return { tag: labels[tag]!, probability: softmax(own)[tag]! };
    });
    const tags = said.map(({ tag }) => tag);
    const entities = marksEntities ? entitiesOf(tags) : [];
    return { tags, probabilities: said.map(({ probability }) => probability), entities, cut };
  });
}

/** Throws `not_finite` for a model that has diverged. */
async function logitsOf({ model, tokenizer, head, engine }: Classifier, encoded: readonly Encoded[]) {
  const perRow = (length: number): number =>
    head.kind === "token-classification" ? length : head.multiLabel ? head.labels : 1;
  const batch = batchOf(model, tokenizer.padId, encoded, (length) =>
    new Int32Array(encoded.length * perRow(length)).fill(-100),
  );
  const logits = await engine.logits(batch);
  const broken = logits.findIndex((logit) => !Number.isFinite(logit));
  if (broken === -1) return { logits, length: batch.length };
  throw new RingtuneError("not_finite", `the model gives a logit of ${logits[broken]}; it has diverged`);
}
