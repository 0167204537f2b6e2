// Samples of masked language modelling: windows of text in which some tokens are to be filled in (Devlin et al., 2018).
//
//   tokens          d1 d1 d1 SEP d2 d2              documents one after another, the separator between them
//   window          CLS d1 d1 d1 SEP d2 SEP         as many as fit between the special tokens
//   ids             CLS d1 MASK d1 SEP d2 SEP       of the tokens drawn 80% are masked, 10% another token, 10% as they are
//   targets         .   .  d1   .  .   .  .         only the tokens drawn
//
// Which tokens are drawn follows from the seed and the sample's position in the stream, so it is another choice in every
// epoch and the same one at any number of workers and after a resume.

import { assert } from "../../common/errors.ts";
import { createRandom, type Random } from "../../common/random.ts";
import { fillTemplate, specialCount, type SequenceTemplate } from "../../common/sequence-template.ts";
import type { Tokens } from "./dataset.ts";
import { ignoredTarget, type SampleDataset } from "./samples.ts";

export interface MaskedOptions {
  readonly sequenceLength: number;
  readonly template: SequenceTemplate;
  readonly maskId: number;
  readonly padId: number;
  /** Are never drawn, and never take a token's place. */
  readonly specialIds: ReadonlySet<number>;
  readonly vocabSize: number;
  readonly probability: number;
  readonly seed: number;
  /** Names the use of the seed: training and validation draw different numbers. */
  readonly stream: string;
}

/** `tokens` is a row that begins and ends with a separator, as `createTokenRow` makes it. */
export function createMaskedDataset(tokens: Tokens, options: MaskedOptions): SampleDataset {
  const { sequenceLength, template, specialIds, probability, padId, seed, stream } = options;
  const content = tokens.subarray(1, tokens.length - 1);
  const width = sequenceLength - specialCount(template.single);
  assert(width >= 2, `a window of ${width} tokens has room for a token and a separator`);
  const sampleCount = Math.ceil(content.length / width);
  const windowOf = (i: number): number[] => Array.from(content.subarray(i * width, (i + 1) * width));
  const drawn = (candidates: number): number => Math.min(candidates, Math.max(1, Math.round(probability * candidates)));
  let targetCount = 0;
  for (let i = 0; i < sampleCount; i++) targetCount += drawn(windowOf(i).filter((id) => !specialIds.has(id)).length);
  return {
    sampleCount,
    sequenceLength,
    targetCount,
    targetsPerRow: "tokens",
    padId,
    causal: false,
    isPacked: true,
    sample(i, position) {
      const { ids, types } = fillTemplate(template, sequenceLength, windowOf(i));
      const targets = ids.map(() => ignoredTarget);
      const candidates = ids.flatMap((id, at) => (specialIds.has(id) ? [] : [at]));
      const random = createRandom(seed, `${stream} ${position}`);
      for (const at of choose(candidates, drawn(candidates.length), random)) {
        targets[at] = ids[at] ?? ignoredTarget;
        ids[at] = substitute(ids[at] ?? 0, options, random);
      }
      return { ids, types, targets };
    },
  };
}

/** `count` of the candidates, without repetition. */
function choose(candidates: readonly number[], count: number, random: Random): number[] {
  const left = [...candidates];
  return Array.from({ length: count }, () => left.splice(random.integer(left.length), 1)[0] ?? 0);
}

function substitute(id: number, { maskId, vocabSize, specialIds }: MaskedOptions, random: Random): number {
  const fate = random.next();
  if (fate < 0.8) return maskId;
  if (fate >= 0.9) return id;
  for (;;) {
    const other = random.integer(vocabSize);
    if (!specialIds.has(other)) return other;
  }
}
