// How fast each worker is, and what follows from it: who comes late to the all-reduce, and, when the job asks for it
// (cluster.balance: speed), how many rows of a batch each one gets. The maths does not change: a batch is the same rows whoever
// computes them.
//
// Lag needs no clocks in step. All leave a collective at about the same time, so who waited in it least came last:
//
//     lag of i = max over j of allReduceSeconds(j) - allReduceSeconds(i)      0 for the first to come
//
// Speed is rows a second of forward and backward, smoothed. New shards are worth a change only when they promise a step that is
// shorter by MIN_GAIN: another number of rows may be a shape that has to be compiled first.

import type { Draft } from "./draft.ts";
import { batchOf, nextStep, shardUnit, totalSteps, type Range } from "./job.ts";
import { equally, shardsOf } from "./shards.ts";
import type { Member, Vote } from "./state.ts";

/** What a member's votes tell of it. */
export interface Pace {
  /** Smoothed. */
  lagSeconds: number;
  /** Smoothed; 0 until it is measured. */
  rowsPerSecond: number;
  /** Votes since its shards last changed. */
  votes: number;
}

/** Weight of the newest value. */
const NEWEST = 0.2;
/** Votes that are not measured after a change: one of a plan from before it, one that may compile. */
const UNSETTLED = 2;
/** Votes that are measured before shards may change again. */
const MEASURED = 3;
const MIN_GAIN = 0.05;

export function createPace(): Pace {
  return { lagSeconds: 0, rowsPerSecond: 0, votes: 0 };
}

/** Seconds after the first at which each rank came to the all-reduce. */
export function lagsOf(votes: readonly Pick<Vote, "allReduceSeconds">[]): number[] {
  const longest = Math.max(...votes.map(({ allReduceSeconds }) => allReduceSeconds));
  return votes.map(({ allReduceSeconds }) => longest - allReduceSeconds);
}

/** All members have voted for a step: `votes` and `leases` by rank. */
export function measure(members: readonly Member[], votes: readonly Vote[], leases: readonly Range[]): void {
  const lags = lagsOf(votes);
  for (const [rank, { pace }] of members.entries()) {
    pace.votes += 1;
    if (pace.votes <= UNSETTLED) continue;
    pace.lagSeconds = smooth(pace.lagSeconds, lags[rank]!, pace.votes === UNSETTLED + 1);
    const { computeSeconds } = votes[rank]!;
    if (leases[rank]!.rows === 0 || computeSeconds <= 0) continue;
    pace.rowsPerSecond = smooth(pace.rowsPerSecond, leases[rank]!.rows / computeSeconds, pace.rowsPerSecond === 0);
  }
}

/** Speeds by which the batches of a new generation are divided. */
export function beginPace(draft: Draft): void {
  const { job, state } = draft;
  for (const { pace } of state.members) pace.votes = 0;
  state.speeds = job.balance === "speed" ? speedsOf(state.members) : equally(state.members.length);
}

/** Divides the batches that are not planned yet anew, if that pays. */
export function rebalance(draft: Draft): void {
  const { job, state } = draft;
  const { members } = state;
  if (job.balance !== "speed" || members.length < 2 || state.planned >= totalSteps(job)) return;
  if (members.some(({ pace }) => pace.votes < UNSETTLED + MEASURED)) return;
  const speeds = speedsOf(members);
  const next = nextStep(job, state.planned);
  const batch = batchOf(job, next);
  const [before, after] = [state.speeds, speeds].map((each) => shardsOf(batch, each, shardUnit(job))) as [
    Range[],
    Range[],
  ];
  const secondsOf = (shards: readonly Range[]): number =>
    Math.max(...shards.map(({ rows }, rank) => rows / speeds[rank]!));
  if (secondsOf(after) > (1 - MIN_GAIN) * secondsOf(before)) return;
  state.speeds = speeds;
  for (const { pace } of members) pace.votes = 0;
  const each = members.map(
    ({ id }, rank) => `${id} ${before[rank]!.rows} -> ${after[rank]!.rows} (${speeds[rank]!.toPrecision(3)} rows/s)`,
  );
  draft.because(`shards follow the measured speeds from step ${next} on: ${each.join(", ")}`);
}

/** Who has not been measured is taken to be like the others. */
function speedsOf(members: readonly Member[]): number[] {
  const known = members.flatMap(({ pace }) => (pace.rowsPerSecond > 0 ? [pace.rowsPerSecond] : []));
  if (known.length === 0) return equally(members.length);
  const mean = known.reduce((sum, speed) => sum + speed, 0) / known.length;
  return members.map(({ pace }) => pace.rowsPerSecond || mean);
}

function smooth(before: number, newest: number, isFirst: boolean): number {
  return isFirst ? newest : before + NEWEST * (newest - before);
}
