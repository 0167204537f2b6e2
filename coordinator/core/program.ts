// The program that the coordinator writes for the workers of a generation: plans, and what stands between them.
// Pure; only `state.planned`, the ledger and the list of checkpoints under way move.

import {
  batchOf,
  isDueAt,
  nextStep,
  shardUnit,
  stepBefore,
  totalSteps,
  validatesAfter,
  type Job,
  type Range,
} from "./job.ts";
import { lease } from "./ledger.ts";
import { isDue, planSave } from "./saving.ts";
import { learningRateAt } from "./schedule.ts";
import { equally, shardsOf } from "./shards.ts";
import type { Effect, State } from "./state.ts";

/** Plans a worker holds at most: the one it computes and the next, whose data is then already there. */
const PLANS_AHEAD = 2;

/** What workers that hold the committed weights, or are about to, do next. */
export function beginProgram(job: Job, state: State): Effect[] {
  return [...between(job, state, state.committed), ...planAhead(job, state)];
}

/** Plans up to PLANS_AHEAD steps past the committed one, each followed by what comes after it. */
export function planAhead(job: Job, state: State): Effect[] {
  const effects: Effect[] = [];
  let last = state.committed;
  for (let ahead = 0; ahead < PLANS_AHEAD; ahead++) last = nextStep(job, last);
  while (state.planned < Math.min(last, totalSteps(job))) {
    const step = nextStep(job, state.planned);
    state.planned = step;
    const batch = batchOf(job, step);
    const learningRates = learningRatesOf(job, step);
    const verify = isDueAt(job, step, job.verifyEvery);
    for (const [rank, shard] of shardsOf(batch, speedsFor(job, state, step), shardUnit(job)).entries()) {
      const to = state.members[rank]!.id;
      lease(state.ledger, to, step, shard);
      effects.push({ kind: "plan", to, generation: state.generation, step, batch, shard, learningRates, verify });
    }
    effects.push(...between(job, state, step));
  }
  return effects;
}

/** Of the step, or of each of the round, that leads to `step`. */
function learningRatesOf(job: Job, step: number): number[] {
  const before = stepBefore(job, step);
  return Array.from({ length: step - before }, (_, taken) => learningRateAt(before + taken, job.schedule));
}

/**
 * Whoever is being given the weights of the committed step computes nothing of the next one, so that nobody waits for it. In a
 * round of local steps weights change before it is committed, so all begin it together.
 */
function speedsFor(job: Job, { established, committed, members, speeds }: State, step: number): readonly number[] {
  if (!established || job.localSteps > 1 || stepBefore(job, step) !== committed) return speeds;
  return speeds.map((speed, rank) => (members[rank]!.holds ? speed : 0));
}

/** What stands between step `done` and the next: validation and checkpoint, unless they are complete. */
export function between(job: Job, state: State, done: number): Effect[] {
  const effects: Effect[] = [];
  if (validatesAfter(job, done) && state.validated < done) {
    for (const [rank, shard] of validationShards(job, state.members.length).entries()) {
      const to = state.members[rank]!.id;
      effects.push({ kind: "evaluate", to, generation: state.generation, step: done, shard });
    }
  }
  if (isDue(job, state, done)) effects.push(...planSave(job, state, done));
  return effects;
}

/** Of each rank, of the validation sequences. */
export function validationShards(job: Job, worldSize: number): Range[] {
  return shardsOf({ start: 0, rows: job.validationSequences }, equally(worldSize), shardUnit(job));
}
