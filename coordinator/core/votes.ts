// What the votes of all ranks amount to: whether a step may be committed, and its times.

import type { Vote } from "./state.ts";

export interface VoteProblem {
  readonly kind: "digest" | "not-finite";
  readonly rank: number;
  readonly sentence: string;
}

/** The first reason not to commit: a loss or gradient that is not finite, or gradients that differ between ranks. */
export function worstVote(votes: readonly Vote[]): VoteProblem | undefined {
  for (const [rank, vote] of votes.entries()) {
    if (Number.isFinite(vote.lossSum) && Number.isFinite(vote.gradientNorm)) continue;
    const sentence = `has loss ${vote.lossSum} over ${vote.tokens} tokens and gradient norm ${vote.gradientNorm}; lower train.learning_rate or look at the data of this step`;
    return { kind: "not-finite", rank, sentence };
  }
  if (votes.every(({ tokens }) => tokens === 0)) {
    return { kind: "not-finite", rank: 0, sentence: "and all others have no token to learn from in this step" };
  }
  const expected = votes[0]?.digest;
  const rank = votes.findIndex((vote) => vote.digest !== expected);
  if (rank < 0) return undefined;
  const sentence = `has reduced gradients with digest ${votes[rank]?.digest}, rank 0 with ${expected}`;
  return { kind: "digest", rank, sentence };
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
  const seconds = Math.min(...votes.map((vote) => vote.allReduceSeconds));
  if (votes.length < 2 || !(seconds > 0)) return 0;
  return (gradientBytes / seconds) * ((2 * (votes.length - 1)) / votes.length);
}

/** Token-weighted mean loss in nats. */
export function mean(sums: readonly { lossSum: number; tokens: number }[]): number {
  const tokens = sums.reduce((total, sum) => total + sum.tokens, 0);
  return sums.reduce((total, sum) => total + sum.lossSum, 0) / tokens;
}
