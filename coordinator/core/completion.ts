// When a step, a validation and the run are complete.

import type { ValidationRecord } from "../../common/records.ts";
import type { Draft } from "./draft.ts";
import { describeBest, enough, observe, valueOf } from "./early-stopping.ts";
import { totalSteps, validatesAfter } from "./job.ts";
import { findDiverged } from "./divergence.ts";
import { isSaving, isUnderWay, planSave, publish } from "./saving.ts";

/** Once all members have applied the committed step, it is recorded. */
export function finishStep(draft: Draft): void {
  const { state } = draft;
  if (state.applying === null || state.applying.pending.length > 0) return;
  const { record, slowest, sinceMs, digests } = state.applying;
  state.applying = null;
  // While a generation is formed, the digests that come with it tell.
  if (state.phase === "running") findDiverged(draft, digests, record.step);
  draft.effects.push({
    kind: "record",
    record: {
      ...record,
      seconds: {
        ...slowest,
        commit: (draft.nowMs - sinceMs) / 1000,
        total: (draft.nowMs - state.lastStepEndMs) / 1000,
      },
    },
  });
  state.lastStepEndMs = draft.nowMs;
  if (validatesAfter(draft.job, record.step)) state.validating ??= { sums: {}, sinceMs: draft.nowMs };
  publish(draft);
}

/** A validation is recorded; the run may have seen enough. */
export function finishValidation(draft: Draft, record: ValidationRecord): void {
  const { job, state } = draft;
  draft.effects.push({ kind: "record", record });
  state.validated = record.step;
  state.validating = null;
  state.lastStepEndMs = draft.nowMs;
  draft.because(`the weights of step ${record.step} are validated`);
  draft.waitAgain();
  const rule = job.earlyStopping;
  if (rule !== null) {
    const value = valueOf(rule, record);
    state.measured = value === undefined ? null : { step: record.step, value };
    state.best = observe(rule, state.best, record);
    if (record.step < totalSteps(job)) state.enough = enough(rule, state.best) ?? null;
    if (state.best !== null && state.best.since > 0) draft.because(describeBest(rule, state.best));
  }
  if (state.enough !== null) saveAndFinish(draft);
  else publish(draft);
}

/** No step will be committed after this one: what is committed is saved, and the run ends. */
export function isLast({ job, state }: Draft): boolean {
  return state.stopping !== null || state.enough !== null || state.committed === totalSteps(job);
}

/** The end of a run that was asked to stop, or has seen enough: what is committed is saved. */
export function saveAndFinish(draft: Draft): void {
  const { job, state } = draft;
  if (state.saved < state.committed && state.unsaved === null && !isUnderWay(state, state.committed)) {
    draft.effects.push(...planSave(job, state, state.committed));
  }
  publish(draft);
}

/** Ends the run when nothing is left to do. */
export function completeWhenDone(draft: Draft): void {
  const { job, state } = draft;
  if (state.members.some(({ holds }) => !holds)) return;
  if (state.phase !== "running" || state.applying !== null) return;
  if (isSaving(state)) return;
  if (state.stopping !== null && state.saved === state.committed) {
    return draft.end({ kind: "stopped", step: state.committed, reason: state.stopping });
  }
  const best = state.best === null ? {} : { best: state.best.step };
  if (state.enough !== null && state.saved === state.committed) {
    return draft.end({ kind: "completed", step: state.committed, early: state.enough, ...best });
  }
  const total = totalSteps(job);
  const complete = state.committed === total && state.saved === total;
  if (complete && !(validatesAfter(job, total) && state.validated < total)) {
    draft.end({ kind: "completed", step: total, ...best });
  }
}
