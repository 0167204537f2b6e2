// Who is heard, who is suspected, who is given up: the states of a member as far as its silence decides them. The limits
// are those of detection.ts.

import type { FromWorker } from "../../proto/messages.ts";
import { beat, describeSilence, limitsOf } from "./detection.ts";
import type { Draft } from "./draft.ts";
import { lost, memberOf } from "./membership.ts";
import type { Member, State } from "./state.ts";

/** A tick that is late by more than this finds a coordinator that was stopped, or a clock that jumped. */
const LATE_MS = 500;

/** A worker said something: whatever it was, it lives. */
export function heard(draft: Draft, member: Member, message: FromWorker): void {
  const { pulse } = member;
  const silence = draft.nowMs - pulse.lastMs;
  pulse.lastMs = draft.nowMs;
  if (message.kind === "heartbeat" && message.value.count > 0) beat(pulse, draft.nowMs, draft.job.heartbeatMs);
  if (member.status !== "suspect") return;
  member.status = "healthy";
  draft.because(`worker ${member.id} is heard again after ${Math.round(silence)} ms: suspect -> healthy`);
}

/** Something happens: if the last tick should have come long before, the coordinator stood still, and nobody else did. */
export function forgiveLateness(draft: Draft): void {
  const { state, nowMs } = draft;
  const late = nowMs - state.tickMs;
  if (late <= LATE_MS) return;
  // What the workers said meanwhile is still to be read, which takes a moment more.
  const forgivenMs = late + LATE_MS;
  for (const { pulse } of everybody(state)) {
    pulse.lastMs += forgivenMs;
    pulse.beatMs += forgivenMs;
  }
  state.deadlineMs += forgivenMs;
  state.tickMs += forgivenMs;
  draft.because(`the coordinator stood still for ${Math.round(late)} ms, which is not held against the workers`);
}

/** Time has passed: who has been silent for too long? */
export function listen(draft: Draft): void {
  const { state, nowMs } = draft;
  for (const member of everybody(state)) {
    const { pulse } = member;
    const { suspectMs, deadMs } = limitsOf(pulse);
    // The sums of nextTickMs, so that a tick that is due finds what it was due for.
    if (nowMs >= pulse.lastMs + deadMs) {
      const reason = describeSilence(pulse, nowMs, deadMs);
      draft.effects.push({
        kind: "dismiss",
        to: member.id,
        code: "worker_lost",
        reason: `worker ${member.id} ${reason}`,
      });
      lost(draft, [member.id], reason);
      if (draft.ended) return;
    } else if (nowMs >= pulse.lastMs + suspectMs && member.status === "healthy") {
      member.status = "suspect";
      draft.because(`worker ${member.id} ${describeSilence(pulse, nowMs, suspectMs)}: healthy -> suspect`);
    }
  }
}

/** When the core wants to be woken if nothing happens. */
export function nextTickMs(state: State): number {
  return Math.min(state.deadlineMs, state.unsaved?.atMs ?? Infinity, ...everybody(state).map(silenceEndsMs));
}

/** The same when only this worker has spoken, without a look at the others: a tick that is early does no harm. */
export function tickAfter(state: State, id: string): number {
  const member = memberOf(state, id);
  const retryMs = state.unsaved?.atMs ?? Infinity;
  return Math.min(state.tickMs, state.deadlineMs, retryMs, member === undefined ? Infinity : silenceEndsMs(member));
}

function silenceEndsMs({ pulse, status }: Member): number {
  const { suspectMs, deadMs } = limitsOf(pulse);
  return pulse.lastMs + (status === "healthy" ? suspectMs : deadMs);
}

function everybody({ members, joining }: State): Member[] {
  return [...members, ...joining];
}
