// Who takes part: joining, forming a generation, losing a worker, stopping. Every change of membership is a new
// generation, planned anew from the committed step.

import type { ErrorCode } from "../../common/errors.ts";
import { beginPace, createPace } from "./balance.ts";
import { finishStep } from "./completion.ts";
import type { Draft } from "./draft.ts";
import { createPulse } from "./detection.ts";
import { batchOf, nextStep, shardUnit, totalSteps } from "./job.ts";
import { beginProgram } from "./program.ts";
import { requeue } from "./ledger.ts";
import { absent, awaitReturn, endWait, leftAgain, misfit, returned } from "./returning.ts";
import { equally, shardsOf } from "./shards.ts";
import type { Brings, Member, NewWorker, State } from "./state.ts";
import { abandonPartsOf, dropPlannedSaves, isSaving } from "./saving.ts";

/** A worker that takes part, or is about to. */
export function memberOf({ members, joining }: State, id: string): Member | undefined {
  return members.find((member) => member.id === id) ?? joining.find((member) => member.id === id);
}

/** `brings`: what it holds, if it was here before. */
export function joined(draft: Draft, worker: NewWorker, brings?: Brings): void {
  const { job, state } = draft;
  if (memberOf(state, worker.id) !== undefined) {
    lost(draft, [worker.id], "it called again");
    if (draft.ended) return;
  }
  const problem = brings && misfit(state, brings);
  if (problem !== undefined) return refuseWorker(draft, worker, "protocol_mismatch", problem);
  if (state.phase === "recovering" && returned(draft, worker, brings)) return;
  const isEarly = state.phase === "gathering";
  const member: Member = {
    ...worker,
    status: isEarly ? "healthy" : "joining",
    holds: isEarly,
    ready: isEarly || brings?.ready === true,
    leaving: "",
    healed: 0,
    device: "",
    pulse: createPulse(draft.nowMs, job.heartbeatMs),
    doing: isEarly ? "waiting for the other workers" : brings?.ready ? "waiting to take part" : "making its engine",
    inCollective: false,
    pace: createPace(),
    clock: null,
  };
  if (isEarly) {
    state.members.push(member);
    draft.effects.push({ kind: "welcome", to: worker.id });
    draft.because(`worker ${worker.id} joined, ${state.members.length} of ${state.wanted}`);
    if (state.members.length === state.wanted) form(draft, "all workers have joined");
    return;
  }
  // Those that may come back have their place.
  const others = [...state.members, ...state.joining, ...(state.recovery?.awaited ?? [])];
  if (others.length >= job.globalBatch) {
    const reason = `the run has ${others.length} workers and train.global_batch ${job.globalBatch}: another would have no sequence`;
    return refuseWorker(draft, worker, "usage", reason);
  }
  state.joining.push(member);
  const who = `worker ${worker.id} (host ${worker.host}, pid ${worker.pid})`;
  draft.effects.push({ kind: "welcome", to: worker.id });
  if (member.ready) return draft.because(`${who} is back and joins after step ${nextStep(job, state.committed)}`);
  const localWorldSize = 1 + others.filter(({ host }) => host === worker.host).length;
  const batch = batchOf(job, nextStep(job, Math.min(state.committed, totalSteps(job) - 1)));
  // With the last of so many shards it tries its engine, so that the others don't wait when it takes part.
  const shard = shardsOf(batch, equally(state.members.length + 1), shardUnit(job)).at(-1)!;
  draft.effects.push({ kind: "prepare", to: worker.id, localWorldSize, batch, shard });
  draft.because(`${who} is joining ${state.members.length} others`);
}

function refuseWorker(draft: Draft, { id }: NewWorker, code: ErrorCode, reason: string): void {
  draft.because(`refused worker ${id}: ${reason}`);
  draft.effects.push({ kind: "dismiss", to: id, code, reason });
}

/** A new generation of the members that are there, without those that drain and with those that are ready to join. */
export function form(draft: Draft, reason: string): void {
  const { job, state } = draft;
  dropPlannedSaves(draft);
  exchange(draft);
  const root = state.members.findIndex(({ holds }) => holds);
  if (state.established && root < 0) {
    const gone = state.losses.length > 0 ? `; lost ${state.losses.join("; ")}` : "";
    return draft.fail("worker_lost", `no worker is left that holds the weights of step ${state.committed}${gone}`);
  }
  state.phase = "forming";
  requeue(state.ledger);
  state.generation += 1;
  state.formed = {};
  state.votes = {};
  state.validating = null;
  state.interrupted = null;
  state.planned = state.committed;
  beginPace(draft);
  const isHeld = state.members.every(({ holds }) => holds);
  // A newcomer that can't be reached must not cost the others a step's time.
  state.deadlineMs = draft.nowMs + (isHeld ? job.stepTimeoutMs : Math.min(job.joinTimeoutMs, job.stepTimeoutMs));
  draft.because(
    `generation ${state.generation - 1} -> ${state.generation} with ${state.members.length} workers: ${reason}`,
  );
  const members = state.members.map(({ id, host, pid, ringEndpoint }) => ({ id, host, pid, ringEndpoint }));
  const measureLinks = state.measure && state.members.length > 1;
  state.measure = false;
  state.links = [];
  const receivers = [...state.members.keys()].filter((rank) => !state.members[rank]!.holds);
  state.members.forEach((member, rank) => {
    draft.effects.push({
      kind: "form",
      to: member.id,
      generation: state.generation,
      rank,
      members,
      step: state.committed,
      source: !state.established ? job.start : isHeld ? { kind: "held" } : { kind: "peer", root, receivers },
      measureLinks,
    });
  });
  if (!state.established || state.stopping !== null || state.enough !== null) return;
  // Those that hold the weights go on at once; nothing is committed before all have formed and their weights are compared.
  state.lastStepEndMs = draft.nowMs;
  draft.effects.push(...beginProgram(job, state));
}

/** Those that drain go, those that are ready come; but nobody comes to a run that is about to end. */
function exchange(draft: Draft): void {
  const { state } = draft;
  const staying = state.members.filter(({ status, holds }) => status !== "draining" && holds);
  const isTaken = staying.length > 0 || state.members.every(({ status }) => status === "draining");
  // Whoever alone holds the weights stays until others do.
  const going = isTaken ? state.members.filter(({ status }) => status === "draining") : [];
  if (going.length === state.members.length && going.length > 0) state.stopping ??= going[0]!.leaving;
  if (state.stopping !== null || state.enough !== null) return;
  for (const { id, leaving } of going) {
    const reason = `drained after step ${state.committed} (${leaving})`;
    draft.effects.push({ kind: "finish", to: id, reason, drained: true });
  }
  const coming = state.joining.filter(({ ready }) => ready);
  for (const member of coming) member.status = "healthy";
  state.joining = state.joining.filter(({ ready }) => !ready);
  state.members = [...state.members.filter((member) => !going.includes(member)), ...coming];
  state.wanted = Math.max(state.wanted, state.members.length);
  if (state.applying === null) return;
  const ids = going.map(({ id }) => id);
  state.applying.pending = state.applying.pending.filter((id) => !ids.includes(id));
  finishStep(draft);
}

/** Removes members; survivors carry on from the committed step. */
export function lost(draft: Draft, ids: readonly string[], reason: string): void {
  const { job, state } = draft;
  const order = state.members.map(({ id }) => id);
  abandonPartsOf(draft, ids);
  const gone = [...state.members, ...state.joining].filter(({ id }) => ids.includes(id));
  if (gone.length === 0) return;
  const sentences = gone.map((member) => `${draft.nameOf(member)}: ${reason}`);
  const wasMember = gone.some(({ status }) => status !== "joining");
  draft.mourn(sentences);
  state.members = state.members.filter(({ id }) => !ids.includes(id));
  state.joining = state.joining.filter(({ id }) => !ids.includes(id));
  if (state.phase === "recovering") leftAgain(draft, gone);
  if (!wasMember || ["gathering", "recovering"].includes(state.phase))
    return draft.because(`lost ${sentences.join("; ")}`);
  if (job.recoverMs > 0 && state.established && !state.members.some(({ holds }) => holds)) {
    return awaitReturn(draft, gone.map(absent), order, `lost ${sentences.join("; ")}`);
  }
  if (state.applying !== null) {
    state.applying.pending = state.applying.pending.filter((id) => !ids.includes(id));
    finishStep(draft);
    if (draft.ended) return;
  }
  if (state.members.length === 0 && job.recoverMs > 0 && !state.established) return gatherAgain(draft, sentences);
  if (state.members.length === 0)
    return draft.fail("worker_lost", `no worker is left; lost ${state.losses.join("; ")}`);
  form(draft, `lost ${sentences.join("; ")}`);
}

/** Nobody has any weights yet, so nothing is lost with the last worker: whoever comes now begins. */
function gatherAgain(draft: Draft, lost: readonly string[]): void {
  const { job, state } = draft;
  state.phase = "gathering";
  state.members = state.joining.map((member) => ({ ...member, status: "healthy", holds: true, ready: true }));
  state.joining = [];
  state.formed = {};
  state.interrupted = null;
  state.deadlineMs = draft.nowMs + job.joinTimeoutMs;
  const there = `${state.members.length} of ${job.workers} workers are there`;
  draft.because(`lost ${lost.join("; ")}: ${there}, waiting up to ${job.joinTimeoutMs / 1000} s for the others`);
  if (state.members.length >= job.workers) form(draft, "all workers have joined");
}

/** The user wants to stop: save what is committed and go. */
export function stop(draft: Draft, reason: string): void {
  const { state } = draft;
  if (state.stopping !== null) return;
  state.stopping = reason;
  if (state.phase === "recovering") return endWait(draft);
  if (!state.established) return draft.end({ kind: "stopped", step: state.committed, reason });
  if (state.phase === "running" && state.saved === state.committed && !isSaving(state) && state.applying === null) {
    return draft.end({ kind: "stopped", step: state.committed, reason });
  }
  // A new generation drops the plans that are under way; the committed weights are then saved.
  form(draft, reason);
}
