// The coordinator as a state machine: `step(job, state, event, nowMs)` says what is so now, what to do and why. No I/O, no
// timers, no clock: a test drives it with events, a simulation with thousands of schedules. `advance` is the same without
// the copy, for the one who needs no earlier state: with 256 workers the copy took most of a coordinator's time.
//
// Every worker works through its messages in order, so the coordinator writes a program for it and stays one plan
// ahead, for the data to be there when it is needed:
//
//     form  [validate c] [save c]  plan c+1  [validate c+1] [save c+1]  plan c+2   |commit c+1|  ...  plan c+3   |commit c+2|
//
// A worker that has finished plan s waits for `commit s` before it goes on. Whatever goes wrong before that commit, the
// weights have not changed: a new generation is formed from the members that are left, and the program is written anew
// from the committed step.

import { copyOf } from "./copy.ts";
import { assertNever } from "../../common/errors.ts";
import { said } from "./answers.ts";
import { Draft } from "./draft.ts";
import { replay } from "./early-stopping.ts";
import { positionAfter, type Job } from "./job.ts";
import { createLedger } from "./ledger.ts";
import { forgiveLateness, heard, listen, nextTickMs, tickAfter } from "./listening.ts";
import { drain, scale } from "./leaving.ts";
import { askForLinks } from "./measuring.ts";
import { joined, lost, memberOf, stop } from "./membership.ts";
import { endWait } from "./returning.ts";
import { notWritten, published, retrySave, unpublished, wrote } from "./saving.ts";
import type { Decision, Event, State } from "./state.ts";
import { launchFailed, retry, timeout } from "./waiting.ts";

/** `generation`: the last one of this job, if there was one before. */
export function initialState(job: Job, nowMs: number, generation = 0): State {
  const validations = job.start.kind === "checkpoint" ? job.start.validations : [];
  const best = job.earlyStopping === null ? null : replay(job.earlyStopping, validations);
  return {
    phase: "gathering",
    generation,
    wanted: job.workers,
    members: [],
    joining: [],
    established: false,
    committed: job.start.step,
    planned: job.start.step,
    validated: validations.some(({ step }) => step === job.start.step) ? job.start.step : job.start.step - 1,
    saved: job.start.step,
    saves: [],
    saveAttempts: 0,
    owed: false,
    unsaved: null,
    formed: {},
    votes: {},
    applying: null,
    reduction: null,
    recovery: null,
    validating: null,
    ledger: createLedger(
      positionAfter(job, job.start.step),
      job.start.kind === "checkpoint" ? job.start.ledger : undefined,
    ),
    measure: false,
    links: [],
    speeds: [],
    parameters: 0,
    lastStepEndMs: nowMs,
    interrupted: null,
    attempts: 0,
    complaints: {},
    deadlineMs: nowMs + job.joinTimeoutMs,
    tickMs: nowMs + job.joinTimeoutMs,
    stopping: null,
    best,
    measured: null,
    kept: best === null ? null : { step: best.step, value: best.value },
    enough: null,
    losses: [],
    over: false,
  };
}

/** Decides. `state` is not changed. */
export function step(job: Job, state: State, event: Event, nowMs: number): Decision {
  return advance(job, copyOf(state), event, nowMs);
}

/** Decides, and changes `state` itself, which it returns. Effects share nothing with it that changes later. */
export function advance(job: Job, state: State, event: Event, nowMs: number): Decision {
  const draft = new Draft(job, state, nowMs);
  handle(draft, event);
  state.tickMs = event.kind === "said" ? tickAfter(state, event.id) : nextTickMs(state);
  return { state, effects: draft.effects, reason: draft.reason };
}

function handle(draft: Draft, event: Event): void {
  if (draft.state.phase === "ended") return;
  forgiveLateness(draft);
  switch (event.kind) {
    case "joined":
      return joined(draft, event.worker, event.brings);
    case "left":
      return lost(draft, [event.id], event.reason);
    case "said": {
      const member = memberOf(draft.state, event.id);
      // Of a worker that drains, and stays until its part of a checkpoint is written.
      if (member === undefined && event.message.kind === "saved") return wrote(draft, event.id, event.message.value);
      if (member === undefined && event.message.kind === "notSaved")
        return notWritten(draft, event.id, event.message.value);
      if (member === undefined) return;
      heard(draft, member, event.message);
      return said(draft, member, event.message);
    }
    case "launch-failed":
      return launchFailed(draft, event.reason);
    case "disk-failed":
      return draft.fail("disk_failed", event.reason);
    case "published":
      return published(draft, event.attempt);
    case "unpublished":
      return unpublished(draft, event.attempt, event);
    case "drain":
      return drain(draft, event.id, event.reason);
    case "scale":
      return scale(draft, event.workers);
    case "measure-links":
      return askForLinks(draft);
    case "stop":
      return stop(draft, event.reason);
    case "tick":
      listen(draft);
      if (!draft.ended) retrySave(draft);
      if (draft.ended || draft.nowMs < draft.state.deadlineMs) return;
      if (draft.state.phase === "recovering") return endWait(draft);
      if (draft.state.interrupted !== null) return retry(draft, draft.state.interrupted);
      return timeout(draft);
    default:
      assertNever(event);
  }
}
