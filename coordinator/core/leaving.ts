// Workers that come and go while the others train, always at a step boundary: whoever is ready enters with the new
// generation, whoever drains leaves with the last one.

import type { Draft } from "./draft.ts";
import { nextStep, totalSteps } from "./job.ts";
import { form, lost, memberOf, stop } from "./membership.ts";
import type { Member } from "./state.ts";

/** Call when a step is committed. True if a new generation is formed for those who come and go. */
export function changeMembers(draft: Draft): boolean {
  const { job, state } = draft;
  const coming = state.joining.filter(({ ready }) => ready);
  const going = state.members.filter(({ status }) => status === "draining");
  if ((coming.length + going.length === 0 && !state.measure) || state.committed === totalSteps(job)) return false;
  const sentences = [
    ...coming.map(({ id, host }) => `worker ${id} (host ${host}) joins`),
    ...going.map((member) => `worker ${member.id} drains (${member.leaving})`),
    ...(state.measure ? ["the links between the workers are measured"] : []),
  ];
  form(draft, sentences.join(", "));
  return true;
}

/** A worker is to go. The last one takes the run with it, once what is committed is saved. */
export function drain(draft: Draft, id: string, reason: string): void {
  const { job, state } = draft;
  const member = memberOf(state, id);
  if (member === undefined) {
    const there = [...state.members, ...state.joining].map((each) => each.id).join(", ");
    return refuse(draft, `there is no worker ${id}; there are ${there}`);
  }
  if (member.status === "draining") return;
  if (member.status === "joining" || state.phase === "gathering") {
    draft.effects.push({ kind: "finish", to: id, reason: `${reason}, before it took part`, drained: true });
    return lost(draft, [id], `it drains (${reason})`);
  }
  if (state.members.every((each) => each === member || each.status === "draining")) {
    draft.because(`worker ${id} drains (${reason}), and it is the last one`);
    return stop(draft, reason);
  }
  state.wanted = Math.max(1, state.wanted - 1);
  member.status = "draining";
  member.leaving = reason;
  draft.because(`worker ${id} drains (${reason}): it goes when step ${nextStep(job, state.committed)} is committed`);
}

/** So many workers are to train: more are started, or the last ones drain. */
export function scale(draft: Draft, workers: number): void {
  const { job, state } = draft;
  if (state.phase === "gathering") {
    return refuse(draft, `the run still waits for the ${state.wanted} workers that it begins with`);
  }
  if (state.phase === "recovering") return refuse(draft, "the run still waits for its workers to come back");
  if (workers < 1) return refuse(draft, `${workers} workers can't train; stop the run with Ctrl-C instead`);
  if (workers > job.globalBatch) {
    return refuse(
      draft,
      `${workers} workers can't share train.global_batch ${job.globalBatch}: some would have no sequence`,
    );
  }
  const active: Member[] = [...state.members.filter(({ status }) => status !== "draining"), ...state.joining];
  draft.because(`scaling from ${active.length} to ${workers} workers`);
  if (workers > active.length) draft.effects.push({ kind: "launch", count: workers - active.length });
  for (const { id } of active.slice(workers).reverse()) drain(draft, id, `scaled to ${workers} workers`);
  state.wanted = workers;
}

/** What was asked for can't be done. */
export function refuse(draft: Draft, reason: string): void {
  draft.because(`refused: ${reason}`);
  draft.effects.push({ kind: "refuse", reason });
}
