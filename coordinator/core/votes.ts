// What the votes of all ranks amount to: whether a step may be committed, and its times.

import type { Range } from "./job.ts";
import type { Vote } from "./state.ts";

/** What the votes of a step amount to. */
export type Verdict =
  | { readonly kind: "commit" }
  /**
   * The scaled gradient overflowed, and the job takes that into account: the step counts, its update is left out. All
   * ranks find the same, because they hold the same gradient (their digests are equal).
   */
  | { readonly kind: "skip" }
  /** These ranks have reduced another gradient than most. */
  | { readonly kind: "digest"; readonly ranks: readonly number[]; readonly sentence: string }
  /** `positions` are of the samples to blame, in the stream; empty when no single one is. */
  | { readonly kind: "not-finite"; readonly sentence: string; readonly positions: readonly number[] };

/** What the judgement needs besides the votes. */
export interface Bench {
  /** A worker as sentences name it, by rank. */
  readonly nameOf: (rank: number) => string;
  /** Of each rank, in order. */
  readonly shards: readonly Range[];
  readonly skipsOverflow: boolean;
}

/** The first reason not to commit: a loss or gradient that is not finite, or gradients that differ between ranks. */
export function judge(votes: readonly Vote[], { nameOf, shards, skipsOverflow }: Bench): Verdict {
  const isFinite = votes.every(
    ({ lossSum, gradientNorm }) => Number.isFinite(lossSum) && Number.isFinite(gradientNorm),
  );
  // A worker names rows when a smaller scale would not help.
  const hasLoss = votes.every(({ lossSum }) => Number.isFinite(lossSum));
  const isOverflow = hasLoss && votes.every(({ notFiniteRows }) => notFiniteRows.length === 0);
  const differs = votes.findIndex(({ digest }) => digest !== votes[0]?.digest);
  if (!isFinite && !(skipsOverflow && isOverflow && differs === -1))
    return notFinite(votes, nameOf, shards, skipsOverflow && hasLoss);
  if (votes.every(({ tokens }) => tokens === 0)) {
    const sentence = `${nameOf(0)} and all others have no token to learn from in this step`;
    return { kind: "not-finite", sentence, positions: shards.flatMap(positionsOf) };
  }
  if (differs === -1) return isFinite ? { kind: "commit" } : { kind: "skip" };
  const { right, count } = mostCommon(votes.map(({ digest }) => digest));
  const ranks = [...votes.keys()].filter((rank) => votes[rank]?.digest !== right);
  const others = `${count} of ${votes.length} workers have ${right}`;
  const sentences = ranks.map((rank) => `${nameOf(rank)} has reduced gradients with digest ${votes[rank]?.digest}`);
  return { kind: "digest", ranks, sentence: `${sentences.join(", ")}; ${others}` };
}

/** What most have; in a tie, what the lowest rank has. */
export function mostCommon(digests: readonly string[]): { readonly right: string; readonly count: number } {
  const groups = new Map<string, number>();
  for (const digest of digests) groups.set(digest, (groups.get(digest) ?? 0) + 1);
  // Groups are in the order of their lowest rank, and the first of the largest wins.
  const count = Math.max(...groups.values());
  const [right] = [...groups].find(([, size]) => size === count)!;
  return { right, count };
}

/** Blames the rank whose own samples are not finite: the gradient, being the sum of all, is not finite on any rank. */
function notFinite(
  votes: readonly Vote[],
  nameOf: (rank: number) => string,
  shards: readonly Range[],
  isUnscaled: boolean,
): Extract<Verdict, { kind: "not-finite" }> {
  const own = votes.findIndex(({ lossSum, notFiniteRows }) => !Number.isFinite(lossSum) || notFiniteRows.length > 0);
  const rank = Math.max(0, own);
  const { lossSum, tokens, gradientNorm, notFiniteTensors } = votes[rank]!;
  const norm = `gradient norm ${gradientNorm}${isUnscaled ? " at the smallest loss scale" : ""}`;
  const found = `${nameOf(rank)} has loss ${lossSum} over ${tokens} tokens and ${norm}${describeTensors(notFiniteTensors)}`;
  const all = shards.flatMap(positionsOf);
  const positions = blamed(votes, shards);
  if (positions.length === all.length && all.length > 1) {
    const sentence = `${found}, and so have all ${all.length} samples of the step: the model has diverged; lower train.learning_rate or lengthen the warmup`;
    return { kind: "not-finite", sentence, positions };
  }
  const from = positions.length === 0 ? "" : `, from ${describePositions(positions)}`;
  const sentence = `${found}${from}; lower train.learning_rate or look at the data of this step`;
  return { kind: "not-finite", sentence, positions };
}

/** " (NaN or infinite: 3 of 768 elements of ln_f.weight and some of 51 other tensors)" */
function describeTensors(tensors: Vote["notFiniteTensors"]): string {
  // The backward pass came to it first.
  const first = tensors.at(-1);
  if (first === undefined) return "";
  const others = tensors.length - 1;
  const more = others === 0 ? "" : ` and some of ${others} other tensor${others === 1 ? "" : "s"}`;
  return ` (NaN or infinite: ${first.elements} of ${first.size} elements of ${first.name}${more})`;
}

/** Positions of the rows that workers found not to be finite, ascending. */
export function blamed(
  findings: readonly { readonly notFiniteRows: readonly number[] }[],
  shards: readonly Range[],
): number[] {
  return findings.flatMap(({ notFiniteRows }, rank) => {
    const { start, rows } = shards[rank] ?? { start: 0, rows: 0 };
    return notFiniteRows.filter((row) => row < rows).map((row) => start + row);
  });
}

/** "sample 88 of the stream", "samples 88, 91 and 6 more of the stream" */
export function describePositions(positions: readonly number[]): string {
  const named = positions.slice(0, NAMED);
  const more = positions.length > NAMED ? ` and ${positions.length - NAMED} more` : "";
  return `sample${positions.length === 1 ? "" : "s"} ${named.join(", ")}${more} of the stream`;
}

/** Samples that a sentence lists. */
const NAMED = 8;

function positionsOf({ start, rows }: Range): number[] {
  return Array.from({ length: rows }, (_, row) => start + row);
}

type Seconds = "dataSeconds" | "computeSeconds" | "allReduceSeconds";

export function slowest(votes: readonly Vote[], part: Seconds): number {
  return Math.max(0, ...votes.map((vote) => vote[part]));
}

/**
 * Bus bandwidth as nccl-tests define it, in bytes per second. The last rank to arrive waits for nobody, so the
 * shortest time is that of the collective itself.
 */
export function busBandwidth(gradientBytes: number, votes: readonly Vote[]): number {
  const seconds = Math.min(...votes.map((vote) => vote.collectiveSeconds));
  if (votes.length < 2 || !(seconds > 0)) return 0;
  return (gradientBytes / seconds) * ((2 * (votes.length - 1)) / votes.length);
}

/** Token-weighted mean loss in nats. */
export function mean(sums: readonly { lossSum: number; tokens: number }[]): number {
  const tokens = sums.reduce((total, sum) => total + sum.tokens, 0);
  return sums.reduce((total, sum) => total + sum.lossSum, 0) / tokens;
}
