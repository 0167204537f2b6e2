// Workers that come back: to a coordinator that was started again, to one that lost all of them at once, or singly, after
// they were given up. What they hold decides what they are.
//
//     its weights contain ..., of `committed` steps
//     all                                     a member: nothing was lost
//     one less, and it has reduced that one   the same, once it is told again to apply it
//     less                                    a newcomer, whose weights come from another
//     more                                    refused: it is not of this history
//
// Nobody trains while the run is recovering. It goes on when all that are waited for are there; when one that holds the
// weights is there, the others are given a short time more, and a shorter one where they all have been back already, for
// whoever is later enters as a newcomer.

import { createPace } from "./balance.ts";
import { finishStep } from "./completion.ts";
import { createPulse } from "./detection.ts";
import type { Draft } from "./draft.ts";
import { stepBefore, type Job } from "./job.ts";
import { requeue } from "./ledger.ts";
import { form } from "./membership.ts";
import type { Absent, Brings, Member, NewWorker, State } from "./state.ts";

/** So long the others are waited for: workers that look for their coordinator call several times within it. */
const OTHERS_MS = 10_000;
/** And so long who was back and left again: what called once calls at once, if it lives and reaches the coordinator. */
const AGAIN_MS = 2000;

export function absent({ id, host, pid, ringEndpoint, status, leaving, healed }: Member): Absent {
  return { id, host, pid, ringEndpoint, status: status === "suspect" ? "healthy" : status, leaving, healed };
}

/** Why a worker can't take part with what it brings. */
export function misfit({ established, committed, generation }: State, brings: Brings): string | undefined {
  if (established && brings.whole && brings.step > committed) {
    return `its weights contain ${brings.step} steps, and ${committed} are committed: it is of another history of this run`;
  }
  if (brings.generation > generation) {
    return `it took part in generation ${brings.generation}, and the run is in generation ${generation}: it is of another history of this run`;
  }
  return undefined;
}

/** Nobody is left that holds the weights; these may come back. */
export function awaitReturn(draft: Draft, awaited: readonly Absent[], order: readonly string[], reason: string): void {
  const { job, state } = draft;
  state.phase = "recovering";
  state.recovery = { awaited: [...awaited], wereBack: [], order, untilMs: draft.nowMs + job.recoverMs };
  requeue(state.ledger);
  state.formed = {};
  state.votes = {};
  state.validating = null;
  state.interrupted = null;
  state.planned = state.committed;
  state.deadlineMs = draft.nowMs + job.recoverMs;
  draft.because(
    `${reason}: waiting up to ${job.recoverMs / 1000} s for a worker to come back that holds the weights of step ${state.committed}`,
  );
}

/** A worker comes while the run is recovering. True if it is a member now; otherwise it is a newcomer as any other. */
export function returned(draft: Draft, worker: NewWorker, brings: Brings | undefined): boolean {
  const { job, state } = draft;
  const { recovery } = state;
  if (recovery === null) return false;
  const known = recovery.awaited.find(({ id }) => id === worker.id);
  recovery.awaited = recovery.awaited.filter((each) => each !== known);
  const mayApply = brings !== undefined && holdsCommitted(job, state, brings);
  const holds = mayApply || (brings?.whole === true && brings.step === state.committed);
  const isMember = brings?.ready === true && (holds || known !== undefined);
  if (isMember) {
    state.members.push({
      ...worker,
      status: known?.status === "draining" ? "draining" : "healthy",
      leaving: known?.leaving ?? "",
      healed: known?.healed ?? 0,
      device: "",
      ...{ holds, ready: true, inCollective: false, pace: createPace(), clock: null },
      pulse: createPulse(draft.nowMs, job.heartbeatMs),
      doing: "waiting for the others to come back",
    });
    const place = (id: string): number => (recovery.order.includes(id) ? recovery.order.indexOf(id) : Infinity);
    // Not NaN where both are infinite: who is not known keeps its place.
    state.members.sort((a, b) => (place(a.id) === place(b.id) ? 0 : place(a.id) - place(b.id)));
    draft.effects.push({ kind: "welcome", to: worker.id });
    if (mayApply && state.reduction !== null) {
      const { generation, step } = state.reduction;
      draft.effects.push({ kind: "commit", to: worker.id, generation, step });
    } else notApplying(draft, worker.id);
    const held = mayApply ? `${brings.step} steps, and has reduced step ${state.committed}` : `${brings.step} steps`;
    draft.because(`worker ${worker.id} (host ${worker.host}, pid ${worker.pid}) is back and holds ${held}`);
    shortenWait(draft);
  } else if (known !== undefined) {
    draft.mourn([`worker ${worker.id} (host ${known.host}, pid ${known.pid}): another came in its name`]);
  }
  goOnWhenComplete(draft);
  return isMember;
}

/** It has reduced the committed step, and waits to be told. */
function holdsCommitted(job: Job, { committed, reduction }: State, { whole, step, reduced }: Brings): boolean {
  return (
    whole &&
    reduction !== null &&
    step === stepBefore(job, committed) &&
    reduced?.step === committed &&
    reduced.generation === reduction.generation &&
    reduced.digest === reduction.digest
  );
}

/** A member that has come back leaves again. */
export function leftAgain(draft: Draft, gone: readonly Member[]): void {
  const { recovery } = draft.state;
  if (recovery === null) return;
  const again = gone.filter(({ status }) => status !== "joining");
  recovery.awaited.push(...again.map(absent));
  recovery.wereBack.push(...again.map(({ id }) => id));
  shortenWait(draft);
}

/** Once one is there that holds the weights. */
function shortenWait({ state, nowMs }: Draft): void {
  const { members, recovery } = state;
  if (recovery === null || !members.some(({ holds }) => holds)) return;
  const wereBack = recovery.awaited.every(({ id }) => recovery.wereBack.includes(id));
  state.deadlineMs = Math.min(state.deadlineMs, nowMs + (wereBack ? AGAIN_MS : OTHERS_MS));
}

/** Its own weights are those of the committed step already, or will be given to it. */
function notApplying({ state }: Draft, id: string): void {
  if (state.applying !== null) state.applying.pending = state.applying.pending.filter((each) => each !== id);
}

function goOnWhenComplete(draft: Draft): void {
  const { members, recovery } = draft.state;
  if (recovery?.awaited.length === 0 && members.some(({ holds }) => holds)) goOn(draft, "all are back");
}

/** With those that are there. */
function goOn(draft: Draft, reason: string): void {
  const { state } = draft;
  const late = state.recovery?.awaited ?? [];
  draft.mourn(late.map(({ id, host, pid }) => `worker ${id} (host ${host}, pid ${pid}): it did not come back`));
  for (const { id } of late) notApplying(draft, id);
  state.recovery = null;
  finishStep(draft);
  if (!draft.ended) form(draft, reason);
}

/** The time of those that are waited for is over, or the user wants no more of it. */
export function endWait(draft: Draft): void {
  const { job, state } = draft;
  const late = (state.recovery?.awaited ?? []).map(({ id }) => id);
  if (state.members.some(({ holds }) => holds)) return goOn(draft, `going on without ${late.join(", ")}`);
  const { committed, generation, recovery } = state;
  if (state.stopping === null && recovery !== null && draft.nowMs < recovery.untilMs) {
    // One that held them came and left again.
    state.deadlineMs = recovery.untilMs;
    return;
  }
  if (state.stopping !== null) {
    draft.end({ kind: "stopped", step: committed, reason: `${state.stopping}, before a worker came back` });
    // Whoever starts it again may still find them.
    state.over = false;
    return;
  }
  const who = late.length > 0 ? ` (${late.join(", ")})` : "";
  const reason = `nobody${who} came back within ${job.recoverMs / 1000} s that holds the weights of step ${committed}`;
  draft.end({ kind: "forsaken", step: committed, generation, reason });
}
