// When a step, a checkpoint and the run are complete.

import type { Draft } from "./draft.ts";
import { totalSteps, validatesAfter } from "./job.ts";
import { save } from "./program.ts";
import { slowest } from "./votes.ts";

/** Once all members have applied the committed step, it is recorded. */
export function finishStep(draft: Draft): void {
  const { state } = draft;
  if (state.applying === null || state.applying.pending.length > 0) return;
  const { record, votes, sinceMs } = state.applying;
  state.applying = null;
  draft.effects.push({
    kind: "record",
    record: {
      ...record,
      seconds: {
        data: slowest(votes, "dataSeconds"),
        compute: slowest(votes, "computeSeconds"),
        allReduce: slowest(votes, "allReduceSeconds"),
        commit: (draft.nowMs - sinceMs) / 1000,
        total: (draft.nowMs - state.lastStepEndMs) / 1000,
      },
    },
  });
  state.lastStepEndMs = draft.nowMs;
  if (validatesAfter(draft.job, record.step)) state.validating ??= { sums: {}, sinceMs: draft.nowMs };
  completeWhenDone(draft);
}

/** A checkpoint counts once its validation is recorded too, so that a resumed run has the same records. */
export function publish(draft: Draft): void {
  const { job, state } = draft;
  const done = state.unpublished;
  if (done !== null && !(validatesAfter(job, done) && state.validated < done && state.stopping === null)) {
    state.unpublished = null;
    draft.effects.push({ kind: "publish", step: done });
  }
  completeWhenDone(draft);
}

/** Ends the run when nothing is left to do. */
export function completeWhenDone(draft: Draft): void {
  const { job, state } = draft;
  if (state.phase !== "running" || state.unpublished !== null || state.applying !== null) return;
  if (state.stopping !== null && state.saved === state.committed) {
    return draft.end({ kind: "stopped", step: state.committed, reason: state.stopping });
  }
  const total = totalSteps(job);
  const complete = state.committed === total && state.saved === total;
  if (complete && !(validatesAfter(job, total) && state.validated < total)) {
    draft.end({ kind: "completed", step: total });
  }
}

/** The end of a run that was asked to stop: what is committed is saved. */
export function saveAndFinish(draft: Draft): void {
  const { job, state } = draft;
  if (state.saved < state.committed) draft.effects.push(...save(job, state, state.committed));
  else publish(draft);
}
