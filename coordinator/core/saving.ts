// Checkpoints under way. Every writer copies its part at the same place of the program and writes it while training goes on,
// so a checkpoint is whole some steps after its own, and several may be under way; they are published in order.
//
//     planned ──(all parts on disk)── whole ──(step applied, validated)── publishing ──(run directory answers)── saved
//
// What is not whole when a generation ends, and whose weights are still there, is planned anew; an older one goes on as long
// as every writer that has not answered lives: each has passed its place in the program, so it holds the copy. One whose
// writer is gone is abandoned, and one of the then committed step is owed. Nothing here knows files.

import type { FromWorker } from "../../proto/messages.ts";
import { commitWhenReduced, endValidation } from "./answers.ts";
import { completeWhenDone, isLast } from "./completion.ts";
import type { Draft } from "./draft.ts";
import { isBetter } from "../../common/evaluation/stopping-metrics.ts";
import { nextStep, positionAfter, savesAfter, totalSteps, validatesAfter, type Job } from "./job.ts";
import { form } from "./membership.ts";
import type { Effect, Member, Saving, State } from "./state.ts";

/** Between two tries to write a checkpoint that is waited for. */
const RETRY_MS = 2000;

type Said<K extends FromWorker["kind"]> = Extract<FromWorker, { kind: K }>["value"];

/** Those that share the folder of the run: by default all on the host of rank 0. */
export function writersOf(job: Job, members: readonly Member[]): readonly Member[] {
  if (job.writers === "all") return members;
  if (job.writers === "one") return members.slice(0, 1);
  return members.filter(({ host }) => host === members[0]?.host);
}

export function isUnderWay(state: State, step: number): boolean {
  return state.saves.some((save) => save.step === step);
}

/** Whether a checkpoint of committed weights is under way. */
export function isSaving(state: State): boolean {
  return state.saves.some(({ step }) => step <= state.committed);
}

/** Whether a checkpoint of step `done` belongs into the program now. */
export function isDue(job: Job, state: State, done: number): boolean {
  return (savesAfter(job, done) || state.owed) && state.saved < done && !isUnderWay(state, done);
}

export function planSave(job: Job, state: State, done: number): Effect[] {
  const writers = writersOf(job, state.members);
  const attempt = (state.saveAttempts += 1);
  state.owed = false;
  state.saves.push({
    ...{ attempt, generation: state.generation, step: done, facts: "", publishing: false },
    parts: writers.map(({ id }) => ({ worker: id, files: null })),
  });
  const { generation } = state;
  const common = { generation, step: done, position: positionAfter(job, done), attempt, parts: writers.length };
  return writers.map(({ id }, part) => ({ kind: "save", to: id, ...common, part }));
}

/** A part is on stable storage. Its writer may have left the generation, or be about to leave the run. */
export function wrote(draft: Draft, id: string, { step, attempt, files, factsJson }: Said<"saved">): void {
  const { state } = draft;
  const save = state.saves.find((each) => each.attempt === attempt && each.step === step && step <= state.committed);
  const part = save?.parts.findIndex(({ worker, files: known }) => worker === id && known === null) ?? -1;
  if (save === undefined || part === -1) return;
  save.parts[part]!.files = files.map(({ name, sizeBytes, sha256 }) => ({ name, sizeBytes, sha256 }));
  if (part === 0) save.facts = factsJson;
  const which =
    save.parts.length === 1 ? "the checkpoint" : `part ${part + 1} of ${save.parts.length} of the checkpoint`;
  draft.because(`${id} wrote ${which} of step ${save.step}`);
  publish(draft);
}

/**
 * A checkpoint counts once its validation is recorded too, so that a resumed run has the same records, and once all have
 * applied its step, so that the weights of its writers have been compared.
 */
export function publish(draft: Draft): void {
  const { job, state } = draft;
  // Before one that is whole, nobody needs to wait for a writer that has left and does not answer.
  const newest = state.saves.findLast(isWhole);
  if (newest !== undefined)
    drop(
      draft,
      state.saves.filter((each) => each.step < newest.step && !isWhole(each)),
    );
  const [save] = state.saves;
  if (save !== undefined && !save.publishing && isWhole(save)) {
    const { generation, step, attempt, facts, parts } = save;
    // While a generation is formed, the weights that its writers copy have not been compared.
    const isCompared = state.phase !== "forming" || generation < state.generation;
    const isApplied = state.applying === null || state.applying.record.step > step;
    if (isCompared && isApplied && !(validatesAfter(job, step) && state.validated < step && state.stopping === null)) {
      save.publishing = true;
      const files = parts.flatMap((part) => part.files ?? []);
      const best = keptWith(draft, step)?.step ?? null;
      draft.effects.push({ kind: "publish", step, attempt, files, facts, best });
    }
  }
  completeWhenDone(draft);
}

/** The run directory has it: `latest` points to it. */
export function published(draft: Draft, attempt: number): void {
  const { state } = draft;
  const save = state.saves.find((each) => each.attempt === attempt);
  if (save === undefined) return;
  state.saves = state.saves.filter((each) => each !== save);
  state.saved = save.step;
  state.kept = keptWith(draft, save.step);
  // An older one that comes in meanwhile is not what is waited for.
  if (save.step === state.committed) state.unsaved = null;
  goOn(draft);
}

/** The disk of a writer did not take its part. */
export function notWritten(draft: Draft, id: string, { attempt, reason, neededBytes }: Said<"notSaved">): void {
  const save = draft.state.saves.find((each) => each.attempt === attempt && !each.publishing);
  if (save?.parts.some(({ worker }) => worker === id) === true) giveUp(draft, save, { reason, neededBytes });
}

/** The run directory did not take the whole. */
export function unpublished(draft: Draft, attempt: number, failure: Failure): void {
  const save = draft.state.saves.find((each) => each.attempt === attempt);
  if (save !== undefined) giveUp(draft, save, failure);
}

interface Failure {
  readonly reason: string;
  readonly neededBytes: number;
}

function giveUp(draft: Draft, save: Saving, { reason, neededBytes }: Failure): void {
  const { job, state } = draft;
  drop(draft, [save], { reason, neededBytes });
  const safe = state.saved > 0 ? `the last good one is of step ${state.saved}` : "there is none yet";
  const sinceMs = state.unsaved?.sinceMs ?? draft.nowMs;
  const mayBeBest = job.earlyStopping !== null && validatesAfter(job, save.step);
  const isAwaited = save.step === state.committed && (isLast(draft) || mayBeBest);
  if (isAwaited && draft.nowMs - sinceMs < job.saveRetryMs) {
    state.unsaved = { sinceMs, atMs: draft.nowMs + RETRY_MS };
    draft.waitAgain();
    draft.because(`${reason}; ${safe}; trying again for ${describeLeft(job, sinceMs, draft.nowMs)} s`);
    return goOn(draft);
  }
  if (isAwaited) state.unsaved = null;
  if (isAwaited && isLast(draft)) {
    const tried = `could not be written for ${job.saveRetryMs / 1000} s`;
    return draft.fail("disk_failed", `the checkpoint of step ${save.step}, the last one, ${tried}: ${reason}; ${safe}`);
  }
  draft.because(
    `${reason}; ${safe}; training goes on, and the next is due after step ${nextDue(job, state.committed)}`,
  );
  goOn(draft);
}

/** Time has passed: a checkpoint that is waited for is tried again. */
export function retrySave(draft: Draft): void {
  const { job, state } = draft;
  const { unsaved } = state;
  if (unsaved === null || draft.nowMs < unsaved.atMs) return;
  unsaved.atMs = draft.nowMs + RETRY_MS;
  if (state.phase !== "running" || isUnderWay(state, state.committed)) return;
  if (state.planned > state.committed) {
    // Workers have gone on to a step that is not committed: they come to the place of the checkpoint again.
    return form(draft, `the checkpoint of step ${state.committed} is tried again`);
  }
  draft.waitAgain();
  draft.effects.push(...planSave(job, state, state.committed));
}

/**
 * With early stopping the weights of a validation must not be lost, whoever dies: the next step is not committed, so all
 * members still hold them, until their checkpoint is published or given up. Its gradients are computed meanwhile.
 */
export function holdsBack({ job, state }: Draft): boolean {
  if (job.earlyStopping === null || !validatesAfter(job, state.committed)) return false;
  return isUnderWay(state, state.committed) || state.unsaved !== null;
}

/** Workers are gone; parts that they have not written will not come. */
export function abandonPartsOf(draft: Draft, ids: readonly string[]): void {
  const isGone = ({ worker, files }: Saving["parts"][number]): boolean => files === null && ids.includes(worker);
  abandon(draft, (save) => save.parts.some(isGone), "its writer is gone");
}

/** What a worker wrote can't be trusted: its weights differ from the others'. */
export function abandonSavesOf(draft: Draft, id: string): void {
  abandon(draft, ({ parts }) => parts.some(({ worker }) => worker === id), `the weights of its writer ${id} differ`);
}

/** A generation is over: what was not copied yet, or may not have been, is planned anew with the next one. */
export function dropPlannedSaves(draft: Draft): void {
  const { state } = draft;
  const open = state.saves.filter((save) => save.step >= state.committed && !isWhole(save));
  drop(draft, open);
  owe(draft.job, state, open);
}

function isWhole({ parts }: Saving): boolean {
  return parts.every(({ files }) => files !== null);
}

/** The run ends, and some were under way. */
export function dropAll(draft: Draft): void {
  drop(
    draft,
    draft.state.saves.filter(({ publishing }) => !publishing),
  );
}

/** Members that have not written their part of the oldest checkpoint under way. */
export function lateWriters({ state }: Draft): Member[] {
  const missing = state.saves[0]?.parts.filter(({ files }) => files === null).map(({ worker }) => worker) ?? [];
  return state.members.filter(({ id }) => missing.includes(id));
}

function abandon(draft: Draft, isLost: (save: Saving) => boolean, why: string): void {
  const { state } = draft;
  const gone = state.saves.filter((save) => !save.publishing && isLost(save));
  if (gone.length === 0) return;
  drop(draft, gone);
  owe(draft.job, state, gone);
  for (const { step } of gone.filter((save) => save.step <= state.committed)) {
    draft.because(`the checkpoint of step ${step} is abandoned, ${why}; another is made at the next step boundary`);
  }
}

/** One is made for those whose place in the program is past, or was no place of the program by itself. */
function owe(job: Job, state: State, gone: readonly Saving[]): void {
  if (gone.some(({ step }) => step <= state.committed || !savesAfter(job, step))) state.owed = true;
}

function drop(draft: Draft, saves: readonly Saving[], failure?: Failure): void {
  const { state } = draft;
  state.saves = state.saves.filter((save) => !saves.includes(save));
  for (const { step, attempt } of saves.filter((save) => hasBegun(state, save))) {
    draft.effects.push({ kind: "discard", step, attempt, ...(failure === undefined ? {} : { failure }) });
  }
}

/** Of a step that is not committed nobody has copied anything. */
function hasBegun({ committed }: State, { step }: Saving): boolean {
  return step <= committed;
}

/** Something is waited for no longer. */
export function goOn(draft: Draft): void {
  endValidation(draft);
  if (draft.ended) return;
  commitWhenReduced(draft);
  publish(draft);
}

/** The best validated step that has a checkpoint, once that of `step` has one. */
function keptWith({ job, state }: Draft, step: number): State["kept"] {
  const { kept, measured } = state;
  if (job.earlyStopping === null || measured?.step !== step) return kept;
  return kept === null || isBetter(job.earlyStopping.metric, measured.value, kept.value) ? measured : kept;
}

function nextDue(job: Job, committed: number): number {
  let step = nextStep(job, committed);
  while (step < totalSteps(job) && !savesAfter(job, step)) step = nextStep(job, step);
  return step;
}

function describeLeft(job: Job, sinceMs: number, nowMs: number): number {
  return Math.ceil((sinceMs + job.saveRetryMs - nowMs) / 1000);
}
