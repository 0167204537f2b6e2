// Who takes part: joining, forming a generation, losing a worker, stopping. Every change of membership is a new
// generation, planned anew from the committed step.

import { finishStep } from "./completion.ts";
import type { Draft } from "./draft.ts";
import type { Member } from "./state.ts";

/** Broken rings without a commit between them before the run gives up. */
const MAX_ATTEMPTS = 5;

export function joined(draft: Draft, worker: Omit<Member, "doing" | "inCollective">): void {
  const { job, state } = draft;
  const refuse = (reason: string): void => {
    draft.reason = `refused worker ${worker.id}: ${reason}`;
    draft.effects.push({ kind: "dismiss", to: worker.id, code: "worker_lost", reason });
  };
  if (state.phase !== "gathering") {
    return refuse(`the run has its ${job.workers} workers already and takes no more while it trains`);
  }
  state.members.push({ ...worker, doing: "waiting for the other workers", inCollective: false });
  draft.effects.push({ kind: "welcome", to: worker.id });
  draft.reason = `worker ${worker.id} joined, ${state.members.length} of ${job.workers}`;
  if (state.members.length === job.workers) form(draft, "all workers have joined");
}

/** A new generation of the members that are there. */
export function form(draft: Draft, reason: string): void {
  const { job, state } = draft;
  state.phase = "forming";
  state.generation += 1;
  state.formed = {};
  state.votes = {};
  state.validating = null;
  state.interrupted = null;
  state.planned = state.committed;
  state.deadlineMs = draft.nowMs + job.stepTimeoutMs;
  draft.because(
    `generation ${state.generation - 1} -> ${state.generation} with ${state.members.length} workers: ${reason}`,
  );
  state.members.forEach((member, rank) => {
    draft.effects.push({
      kind: "form",
      to: member.id,
      generation: state.generation,
      rank,
      members: state.members,
      step: state.committed,
      source: state.established ? { kind: "held" } : job.start,
    });
  });
}

/** Removes members; survivors carry on from the committed step. */
export function lost(draft: Draft, ids: readonly string[], reason: string): void {
  const { state } = draft;
  const gone = state.members.filter(({ id }) => ids.includes(id));
  if (gone.length === 0) return;
  const sentences = gone.map((member) => `${draft.nameOf(member)}: ${reason}`);
  state.losses.push(...sentences);
  state.members = state.members.filter(({ id }) => !ids.includes(id));
  if (state.applying !== null) {
    state.applying.pending = state.applying.pending.filter((id) => !ids.includes(id));
    finishStep(draft);
    if (draft.ended) return;
  }
  if (state.phase === "gathering") {
    draft.because(`lost ${sentences.join("; ")}`);
    return;
  }
  if (state.members.length === 0)
    return draft.fail("worker_lost", `no worker is left; lost ${state.losses.join("; ")}`);
  form(draft, `lost ${sentences.join("; ")}`);
}

/** Nobody was lost: the same members try again. */
export function retry(draft: Draft, reason: string): void {
  draft.state.attempts += 1;
  if (draft.state.attempts > MAX_ATTEMPTS) {
    return draft.fail("collective_failed", `the ring broke ${MAX_ATTEMPTS + 1} times in a row; ${reason}`);
  }
  form(draft, `the ring broke, ${reason}`);
}

/** Whoever is waited for has had its time. */
export function timeout(draft: Draft): void {
  const { job, state } = draft;
  if (state.phase === "gathering") {
    const seconds = job.joinTimeoutMs / 1000;
    const joined = `${state.members.length} of ${job.workers} workers joined within ${seconds} s`;
    const why = state.losses.length > 0 ? `; lost ${state.losses.join("; ")}` : "";
    return draft.fail("timed_out", `${joined}${why}`);
  }
  const answered = state.phase === "forming" ? state.formed : state.votes;
  const silent = state.members.filter(({ id }) => !(id in answered));
  // Those that wait inside the collective wait for the others.
  const culprits = silent.filter(({ inCollective }) => !inCollective);
  const late = [culprits, silent, state.members].find(({ length }) => length > 0) ?? [];
  const task = state.phase === "forming" ? `form generation ${state.generation}` : `reduce step ${state.committed + 1}`;
  const reason = `did not ${task} within ${job.stepTimeoutMs / 1000} s`;
  for (const { id } of late) draft.effects.push({ kind: "dismiss", to: id, code: "timed_out", reason });
  draft.waitAgain();
  lost(
    draft,
    late.map(({ id }) => id),
    reason,
  );
}

/** The user wants to stop: save what is committed and go. */
export function stop(draft: Draft, reason: string): void {
  const { state } = draft;
  if (state.stopping !== null) return;
  state.stopping = reason;
  if (!state.established) return draft.end({ kind: "stopped", step: state.committed, reason });
  if (
    state.phase === "running" &&
    state.saved === state.committed &&
    state.unpublished === null &&
    state.applying === null
  ) {
    return draft.end({ kind: "stopped", step: state.committed, reason });
  }
  // A new generation drops the plans that are under way; the committed weights are then saved.
  form(draft, reason);
}
