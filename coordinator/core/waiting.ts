// Who is waited for, and what follows when they have had their time, or when the ring broke and nobody was lost.

import type { Draft } from "./draft.ts";
import { nextStep, totalSteps, validatesAfter } from "./job.ts";
import { form, lost } from "./membership.ts";
import { lateWriters } from "./saving.ts";
import type { Member } from "./state.ts";

/** Broken rings without a commit between them before somebody is given up; of a newcomer less is put up with. */
const MAX_ATTEMPTS = 3;
const NEWCOMERS_ATTEMPTS = 1;

/**
 * Nobody was lost: the same members try again. Where that does not help, two of them do not reach each other, and the run
 * goes on without one: a newcomer, or the one that the ring broke for most often, of equals the last.
 */
export function retry(draft: Draft, reason: string): void {
  const { state } = draft;
  state.attempts += 1;
  const newcomers = state.established ? state.members.filter(({ holds }) => !holds) : [];
  const limit = newcomers.length > 0 ? NEWCOMERS_ATTEMPTS : MAX_ATTEMPTS;
  if (state.attempts <= limit) return form(draft, `the ring broke, ${reason}`);
  if (state.members.length === 1) {
    return draft.fail("collective_failed", `the ring broke ${state.attempts} times in a row; ${reason}`);
  }
  const complaintsOf = ({ id }: Member): number => state.complaints[id] ?? 0;
  const [culprit] = (newcomers.length > 0 ? newcomers : state.members)
    .toReversed()
    .sort((a, b) => complaintsOf(b) - complaintsOf(a));
  const sentence = `the ring broke ${state.attempts} times in a row, ${complaintsOf(culprit!)} times for it; ${reason}`;
  draft.effects.push({ kind: "dismiss", to: culprit!.id, code: "collective_failed", reason: sentence });
  state.attempts = 0;
  state.complaints = {};
  lost(draft, [culprit!.id], sentence);
}

/** A worker that the run was to begin with can't be started: the others begin without it, if they are enough. */
export function launchFailed(draft: Draft, reason: string): void {
  const { job, state } = draft;
  if (state.phase !== "gathering") return;
  if (state.wanted - 1 < job.minWorkers) return draft.fail("worker_lost", reason);
  state.wanted -= 1;
  draft.because(`${reason}; the run begins with ${state.wanted} workers, ${job.minWorkers} are enough`);
  if (state.members.length === state.wanted) form(draft, "all others have joined");
}

/** Whoever is waited for has had its time. */
export function timeout(draft: Draft): void {
  const { job, state } = draft;
  if (state.phase === "gathering") {
    const seconds = job.joinTimeoutMs / 1000;
    const joined = `${state.members.length} of ${state.wanted} workers joined within ${seconds} s`;
    const why = state.losses.length > 0 ? `; lost ${state.losses.join("; ")}` : "";
    const { length: there } = state.members;
    if (there === 0 || there < job.minWorkers) return draft.fail("timed_out", `${joined}${why}`);
    state.wanted = there;
    return form(draft, `${joined}, and ${job.minWorkers} are enough${why}`);
  }
  const { members, task, isCollective } = awaited(draft);
  // The run directory is waited for, or the time to try a checkpoint again.
  if (members.length === 0) return draft.waitAgain();
  // Those that wait inside the collective wait for the others, and of these who has just come is the first to go.
  const culprits = isCollective ? members.filter(({ inCollective }) => !inCollective) : members;
  const newcomers = state.established ? culprits.filter(({ holds }) => !holds) : [];
  const late = newcomers.length > 0 ? newcomers : culprits;
  const limitMs = newcomers.length > 0 ? Math.min(job.joinTimeoutMs, job.stepTimeoutMs) : job.stepTimeoutMs;
  const reason = `did not ${task} within ${limitMs / 1000} s`;
  if (late.length === 0) {
    const names = members.map(({ id }) => id).join(", ");
    return retry(draft, `${names} ${reason} and wait for each other`);
  }
  for (const { id } of late) draft.effects.push({ kind: "dismiss", to: id, code: "timed_out", reason });
  draft.waitAgain();
  lost(
    draft,
    late.map(({ id }) => id),
    reason,
  );
}

interface Awaited {
  readonly members: readonly Member[];
  /** What they are to do. */
  readonly task: string;
  /** They can only do it all together. */
  readonly isCollective: boolean;
}

function awaited(draft: Draft): Awaited {
  const { job, state } = draft;
  const { members, committed, applying, validating } = state;
  const without = (answers: object): Member[] => members.filter(({ id }) => !(id in answers));
  if (state.phase === "forming") {
    return { members: without(state.formed), task: `form generation ${state.generation}`, isCollective: true };
  }
  if (applying !== null) {
    const pending = members.filter(({ id }) => applying.pending.includes(id));
    return { members: pending, task: `apply step ${committed}`, isCollective: false };
  }
  const isEnding = state.stopping !== null || state.enough !== null;
  if (validatesAfter(job, committed) && state.validated < committed && !isEnding) {
    return { members: without(validating?.sums ?? {}), task: `validate step ${committed}`, isCollective: false };
  }
  if (committed < totalSteps(job) && !isEnding && without(state.votes).length > 0) {
    return { members: without(state.votes), task: `reduce step ${nextStep(job, committed)}`, isCollective: true };
  }
  const [save] = state.saves;
  return {
    members: lateWriters(draft),
    task: `write its part of the checkpoint of step ${save?.step ?? committed}`,
    isCollective: false,
  };
}
