// The coordinator as a pure state machine: `step(job, state, event, nowMs)` says what is so now, what to do and why.
// No I/O, no timers, no clock: a test drives it with events, a simulation with thousands of schedules.
//
// Every worker works through its messages in order, so the coordinator writes a program for it and stays one plan
// ahead, for the data to be there when it is needed:
//
//     form  [validate c] [save c]  plan c+1  [validate c+1] [save c+1]  plan c+2   |commit c+1|  ...  plan c+3   |commit c+2|
//
// A worker that has finished plan s waits for `commit s` before it goes on. Whatever goes wrong before that commit, the
// weights have not changed: a new generation is formed from the members that are left, and the program is written anew
// from the committed step.

import { assertNever, type ErrorCode } from "../../common/errors.ts";
import type { FromWorker } from "../../proto/messages.ts";
import { batchOf, positionAfter, totalSteps, validatesAfter, type Job } from "./job.ts";
import { between, planAhead, save } from "./program.ts";
import { learningRateAt } from "./schedule.ts";
import { busBandwidth, mean, slowest, worstVote } from "./votes.ts";
import type { Decision, Effect, Event, Member, State } from "./state.ts";

/** Failures that every other worker would meet too: they end the run instead of costing one worker. */
const fatalCodes: ReadonlySet<string> = new Set<ErrorCode>([
  "config_invalid",
  "data_invalid",
  "tokenizer_invalid",
  "checkpoint_invalid",
  "model_mismatch",
  "engine_unavailable",
  "no_device",
  "not_finite",
  "disk_failed",
]);

/** A broken ring is news of a lost worker, as a rule: so long is its stream given to close and name it. */
const INTERRUPTION_GRACE_MS = 1000;
/** Broken rings without a commit between them before the run gives up. */
const MAX_ATTEMPTS = 5;

export function initialState(job: Job, nowMs: number): State {
  return {
    phase: "gathering",
    generation: 0,
    members: [],
    established: false,
    committed: job.start.step,
    planned: job.start.step,
    validated: job.start.kind === "checkpoint" && job.start.validated ? job.start.step : job.start.step - 1,
    saved: job.start.step,
    formed: {},
    votes: {},
    applying: null,
    validating: null,
    unpublished: null,
    parameters: 0,
    lastStepEndMs: nowMs,
    interrupted: null,
    attempts: 0,
    deadlineMs: nowMs + job.joinTimeoutMs,
    stopping: null,
    losses: [],
  };
}

/** Decides. `state` is not changed. */
export function step(job: Job, state: State, event: Event, nowMs: number): Decision {
  const draft = new Draft(job, structuredClone(state), nowMs);
  draft.handle(event);
  return { state: draft.state, effects: draft.effects, reason: draft.reason };
}

/** One decision in the making: the copy of the state that it changes and the effects it collects. */
class Draft {
  readonly effects: Effect[] = [];
  reason = "";
  readonly job: Job;
  readonly state: State;
  readonly nowMs: number;

  constructor(job: Job, state: State, nowMs: number) {
    this.job = job;
    this.state = state;
    this.nowMs = nowMs;
  }

  handle(event: Event): void {
    if (this.state.phase === "ended") return;
    switch (event.kind) {
      case "joined":
        return this.joined(event.worker);
      case "left":
        return this.lost([event.id], event.reason);
      case "said": {
        const member = this.state.members.find(({ id }) => id === event.id);
        if (member !== undefined) this.said(member, event.message);
        return;
      }
      case "launch-failed":
        if (this.state.phase === "gathering") this.fail("worker_lost", event.reason);
        return;
      case "disk-failed":
        return this.fail("disk_failed", event.reason);
      case "stop":
        return this.stop(event.reason);
      case "tick":
        if (this.nowMs < this.state.deadlineMs) return;
        if (this.state.interrupted !== null) return this.retry(this.state.interrupted);
        return this.timeout();
      default:
        assertNever(event);
    }
  }

  // ---- membership

  private joined(worker: Omit<Member, "doing" | "inCollective">): void {
    const { job, state } = this;
    const refuse = (reason: string): void => {
      this.reason = `refused worker ${worker.id}: ${reason}`;
      this.effects.push({ kind: "dismiss", to: worker.id, code: "worker_lost", reason });
    };
    if (state.phase !== "gathering") {
      return refuse(`the run has its ${job.workers} workers already and takes no more while it trains`);
    }
    state.members.push({ ...worker, doing: "waiting for the other workers", inCollective: false });
    this.effects.push({ kind: "welcome", to: worker.id });
    this.reason = `worker ${worker.id} joined, ${state.members.length} of ${job.workers}`;
    if (state.members.length === job.workers) this.form("all workers have joined");
  }

  private form(reason: string): void {
    const { job, state } = this;
    state.phase = "forming";
    state.generation += 1;
    state.formed = {};
    state.votes = {};
    state.validating = null;
    state.interrupted = null;
    state.planned = state.committed;
    state.deadlineMs = this.nowMs + job.stepTimeoutMs;
    this.because(
      `generation ${state.generation - 1} -> ${state.generation} with ${state.members.length} workers: ${reason}`,
    );
    state.members.forEach((member, rank) => {
      this.effects.push({
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
  private lost(ids: readonly string[], reason: string): void {
    const { state } = this;
    const gone = state.members.filter(({ id }) => ids.includes(id));
    if (gone.length === 0) return;
    const sentences = gone.map((member) => `${this.nameOf(member)}: ${reason}`);
    state.losses.push(...sentences);
    state.members = state.members.filter(({ id }) => !ids.includes(id));
    if (state.applying !== null) {
      state.applying.pending = state.applying.pending.filter((id) => !ids.includes(id));
      this.finishStep();
    }
    if (state.phase === "gathering") {
      this.because(`lost ${sentences.join("; ")}`);
      return;
    }
    if (state.members.length === 0)
      return this.fail("worker_lost", `no worker is left; lost ${state.losses.join("; ")}`);
    this.form(`lost ${sentences.join("; ")}`);
  }

  // ---- what workers say

  private said(member: Member, message: FromWorker): void {
    const { state } = this;
    switch (message.kind) {
      case "heartbeat":
        member.doing = message.value.doing;
        member.inCollective = message.value.inCollective;
        return;
      case "failed": {
        const { code, message: sentence } = message.value;
        if (!fatalCodes.has(code)) return this.lost([member.id], sentence);
        return this.fail(code as ErrorCode, `${this.nameOf(member)}: ${sentence}`);
      }
      case "saved":
        if (message.value.step === state.saved || message.value.step > state.committed) return;
        state.saved = message.value.step;
        state.unpublished = message.value.step;
        this.reason = `${member.id} wrote the checkpoint of step ${message.value.step}`;
        this.publish();
        return;
      case "join":
        return;
      case "formed":
      case "reduced":
      case "applied":
      case "evaluated":
      case "interrupted":
        // Of a generation that is over: whatever it was, it has been planned anew.
        if (message.value.generation !== state.generation && message.kind !== "applied") return;
        break;
      default:
        assertNever(message);
    }
    switch (message.kind) {
      case "formed":
        return this.hasFormed(member, message.value);
      case "reduced":
        return this.hasReduced(member, message.value);
      case "applied":
        return this.hasApplied(member, message.value);
      case "evaluated":
        return this.hasEvaluated(member, message.value);
      case "interrupted":
        return this.wasInterrupted(member, message.value.reason);
      default:
        assertNever(message);
    }
  }

  private hasFormed(member: Member, formed: { step: number; digest: string; parameters: number }): void {
    const { state } = this;
    if (state.phase !== "forming") return;
    if (formed.step !== state.committed) {
      return this.lost([member.id], `its weights contain ${formed.step} steps, not ${state.committed}`);
    }
    state.formed[member.id] = { digest: formed.digest, parameters: formed.parameters };
    if (!state.members.every(({ id }) => id in state.formed)) return;
    const digests = state.members.map(({ id }) => state.formed[id]?.digest ?? "");
    const odd = state.members.find((_, rank) => digests[rank] !== digests[0]);
    if (odd !== undefined) {
      const rank = state.members.indexOf(odd);
      return this.fail(
        "internal",
        `the weights differ before step ${state.committed + 1}: rank 0 has digest ${digests[0]}, ${this.nameOf(odd)} has ${digests[rank]}`,
      );
    }
    state.phase = "running";
    state.established = true;
    state.parameters = formed.parameters;
    state.lastStepEndMs = this.nowMs;
    this.waitAgain();
    this.because(
      `generation ${state.generation} is formed: ${state.members.length} workers hold step ${state.committed}`,
    );
    if (state.stopping !== null) return this.saveAndFinish();
    this.effects.push(...between(this.job, state, state.committed));
    this.planAhead();
    this.completeWhenDone();
  }

  private wasInterrupted(member: Member, reason: string): void {
    const { state } = this;
    if (state.interrupted !== null) return;
    state.interrupted = `${this.nameOf(member)}: ${reason}`;
    state.deadlineMs = this.nowMs + INTERRUPTION_GRACE_MS;
    this.reason = `the ring broke: ${state.interrupted}`;
  }

  /** Nobody was lost: the same members try again. */
  private retry(reason: string): void {
    this.state.attempts += 1;
    if (this.state.attempts > MAX_ATTEMPTS) {
      return this.fail("collective_failed", `the ring broke ${MAX_ATTEMPTS + 1} times in a row; ${reason}`);
    }
    this.form(`the ring broke, ${reason}`);
  }

  private hasReduced(member: Member, reduced: Extract<FromWorker, { kind: "reduced" }>["value"]): void {
    const { job, state } = this;
    const next = state.committed + 1;
    if (state.phase !== "running" || reduced.step !== next) return;
    state.votes[member.id] = {
      lossSum: reduced.lossSum,
      tokens: reduced.tokens,
      gradientNorm: reduced.gradientNorm,
      digest: reduced.digest,
      dataSeconds: reduced.times?.dataSeconds ?? 0,
      computeSeconds: reduced.times?.computeSeconds ?? 0,
      allReduceSeconds: reduced.times?.allReduceSeconds ?? 0,
      bytesSent: reduced.bytesSent,
    };
    const votes = state.members.flatMap(({ id }) => state.votes[id] ?? []);
    if (votes.length < state.members.length) return;

    const problem = worstVote(votes);
    if (problem !== undefined) {
      const who = this.nameOf(state.members[problem.rank] ?? member);
      const code = problem.kind === "digest" ? "collective_failed" : "not_finite";
      return this.fail(code, `step ${next} is not committed: ${who} ${problem.sentence}`);
    }
    const batch = batchOf(job, next);
    const tokens = votes.reduce((sum, vote) => sum + vote.tokens, 0);
    state.committed = next;
    state.attempts = 0;
    state.votes = {};
    state.applying = {
      votes,
      sinceMs: this.nowMs,
      pending: state.members.map(({ id }) => id),
      record: {
        kind: "step",
        step: next,
        epoch: positionAfter(job, next) / job.samplesPerEpoch,
        loss: votes.reduce((sum, vote) => sum + vote.lossSum, 0) / tokens,
        learningRate: learningRateAt(next - 1, job.schedule),
        gradientNorm: votes[0]?.gradientNorm ?? 0,
        samples: batch.rows,
        tokens,
        allReduceBytes: votes.reduce((sum, vote) => sum + vote.bytesSent, 0),
        busBandwidth: busBandwidth(state.parameters * 4, votes),
        worldSize: state.members.length,
        generation: state.generation,
        timeMs: Math.round(this.nowMs),
      },
    };
    for (const { id } of state.members) {
      this.effects.push({ kind: "commit", to: id, generation: state.generation, step: next });
    }
    this.reason = `step ${next} is committed: all ${votes.length} workers have reduced it`;
    this.waitAgain();
    this.planAhead();
  }

  private hasApplied(member: Member, applied: { step: number }): void {
    const { applying } = this.state;
    if (applying === null || applied.step !== applying.record.step) return;
    applying.pending = applying.pending.filter((id) => id !== member.id);
    this.finishStep();
  }

  private finishStep(): void {
    const { state } = this;
    if (state.applying === null || state.applying.pending.length > 0) return;
    const { record, votes, sinceMs } = state.applying;
    state.applying = null;
    this.effects.push({
      kind: "record",
      record: {
        ...record,
        seconds: {
          data: slowest(votes, "dataSeconds"),
          compute: slowest(votes, "computeSeconds"),
          allReduce: slowest(votes, "allReduceSeconds"),
          commit: (this.nowMs - sinceMs) / 1000,
          total: (this.nowMs - state.lastStepEndMs) / 1000,
        },
      },
    });
    state.lastStepEndMs = this.nowMs;
    if (validatesAfter(this.job, record.step)) state.validating ??= { sums: {}, sinceMs: this.nowMs };
    this.completeWhenDone();
  }

  private hasEvaluated(member: Member, evaluated: { step: number; lossSum: number; tokens: number }): void {
    const { state } = this;
    if (evaluated.step !== state.committed || state.validated >= evaluated.step) return;
    state.validating ??= { sums: {}, sinceMs: this.nowMs };
    state.validating.sums[member.id] = { lossSum: evaluated.lossSum, tokens: evaluated.tokens };
    const sums = state.members.flatMap(({ id }) => state.validating?.sums[id] ?? []);
    if (sums.length < state.members.length) return;
    const loss = mean(sums);
    this.effects.push({
      kind: "record",
      record: {
        kind: "validation",
        step: evaluated.step,
        loss,
        perplexity: Math.exp(loss),
        tokens: sums.reduce((total, sum) => total + sum.tokens, 0),
        seconds: (this.nowMs - (state.validating.sinceMs ?? this.nowMs)) / 1000,
        timeMs: Math.round(this.nowMs),
      },
    });
    state.validated = evaluated.step;
    state.validating = null;
    state.lastStepEndMs = this.nowMs;
    this.reason = `the weights of step ${evaluated.step} are validated`;
    this.waitAgain();
    this.publish();
  }

  // ---- endings

  /** A checkpoint counts once its validation is recorded too, so that a resumed run has the same records. */
  private publish(): void {
    const { job, state } = this;
    const done = state.unpublished;
    if (done !== null && !(validatesAfter(job, done) && state.validated < done && state.stopping === null)) {
      state.unpublished = null;
      this.effects.push({ kind: "publish", step: done });
    }
    this.completeWhenDone();
  }

  private completeWhenDone(): void {
    const { job, state } = this;
    if (state.phase !== "running" || state.unpublished !== null || state.applying !== null) return;
    if (state.stopping !== null && state.saved === state.committed) {
      return this.end({ kind: "stopped", step: state.committed, reason: state.stopping });
    }
    const total = totalSteps(job);
    const complete = state.committed === total && state.saved === total;
    if (complete && !(validatesAfter(job, total) && state.validated < total)) {
      this.end({ kind: "completed", step: total });
    }
  }

  private stop(reason: string): void {
    const { state } = this;
    if (state.stopping !== null) return;
    state.stopping = reason;
    if (!state.established) return this.end({ kind: "stopped", step: state.committed, reason });
    if (
      state.phase === "running" &&
      state.saved === state.committed &&
      state.unpublished === null &&
      state.applying === null
    ) {
      return this.end({ kind: "stopped", step: state.committed, reason });
    }
    // A new generation drops the plans that are under way; the committed weights are then saved.
    this.form(reason);
  }

  private saveAndFinish(): void {
    const { job, state } = this;
    if (state.saved < state.committed) this.effects.push(...save(job, state, state.committed));
    else this.publish();
  }

  private timeout(): void {
    const { job, state } = this;
    if (state.phase === "gathering") {
      const seconds = job.joinTimeoutMs / 1000;
      const joined = `${state.members.length} of ${job.workers} workers joined within ${seconds} s`;
      const why = state.losses.length > 0 ? `; lost ${state.losses.join("; ")}` : "";
      return this.fail("timed_out", `${joined}${why}`);
    }
    const answered = state.phase === "forming" ? state.formed : state.votes;
    const silent = state.members.filter(({ id }) => !(id in answered));
    // Those that wait inside the collective wait for the others.
    const culprits = silent.filter(({ inCollective }) => !inCollective);
    const late = [culprits, silent, state.members].find(({ length }) => length > 0) ?? [];
    const task =
      state.phase === "forming" ? `form generation ${state.generation}` : `reduce step ${state.committed + 1}`;
    const reason = `did not ${task} within ${job.stepTimeoutMs / 1000} s`;
    for (const { id } of late) this.effects.push({ kind: "dismiss", to: id, code: "timed_out", reason });
    this.waitAgain();
    this.lost(
      late.map(({ id }) => id),
      reason,
    );
  }

  private fail(code: ErrorCode, reason: string): void {
    this.end({ kind: "failed", step: this.state.committed, code, reason });
  }

  private end(outcome: Extract<Effect, { kind: "ended" }>["outcome"]): void {
    this.state.phase = "ended";
    const reason = outcome.kind === "completed" ? `all ${outcome.step} steps are done` : outcome.reason;
    for (const { id } of this.state.members) this.effects.push({ kind: "finish", to: id, reason });
    this.effects.push({ kind: "ended", outcome });
    this.because(reason);
  }

  // ---- small things

  private planAhead(): void {
    this.effects.push(...planAhead(this.job, this.state));
  }

  private waitAgain(): void {
    this.state.deadlineMs = this.nowMs + this.job.stepTimeoutMs;
  }

  private nameOf(member: Member): string {
    const rank = this.state.members.indexOf(member);
    const place = rank >= 0 && this.state.generation > 0 ? `rank ${rank}, ` : "";
    return `worker ${member.id} (${place}host ${member.host}, pid ${member.pid}, last ${member.doing})`;
  }

  private because(sentence: string): void {
    this.reason = this.reason === "" ? sentence : `${this.reason}; ${sentence}`;
  }
}
