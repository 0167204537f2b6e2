// One decision in the making: the copy of the state that it changes, the effects it collects and its reason. The parts of
// the core (membership, answers, completion) are functions on it.

import type { ErrorCode } from "../../common/errors.ts";
import type { Job } from "./job.ts";
import { planAhead } from "./program.ts";
import { dropAll } from "./saving.ts";
import type { BlamedSamples, Effect, Member, Outcome, State } from "./state.ts";

/** Losses that the last sentence of a run can name. */
const MAX_LOSSES = 16;

export class Draft {
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

  get ended(): boolean {
    return this.state.phase === "ended";
  }

  /** Writes the next plans of the workers' program. */
  planAhead(): void {
    this.effects.push(...planAhead(this.job, this.state));
  }

  /** Something happened: the wait for the next thing begins now, unless a ring that broke is soon to be formed again. */
  waitAgain(): void {
    if (this.state.interrupted === null) this.state.deadlineMs = this.nowMs + this.job.stepTimeoutMs;
  }

  fail(code: ErrorCode, reason: string, samples?: BlamedSamples): void {
    const step = this.state.committed;
    this.end({ kind: "failed", step, code, reason, ...(samples === undefined ? {} : { samples }) });
  }

  /** Sends everybody home. */
  end(outcome: Outcome): void {
    this.state.phase = "ended";
    this.state.over = outcome.kind !== "forsaken";
    dropAll(this);
    const reason =
      outcome.kind === "completed" ? (outcome.early ?? `all ${outcome.step} steps are done`) : outcome.reason;
    for (const { id } of [...this.state.members, ...this.state.joining]) {
      // The run goes on: whoever is there may call again.
      if (outcome.kind === "forsaken") this.effects.push({ kind: "dismiss", to: id, code: "unavailable", reason });
      else this.effects.push({ kind: "finish", to: id, reason, drained: false });
    }
    this.effects.push({ kind: "ended", outcome });
    this.because(reason);
  }

  /** Why workers left, for the last sentence; of a long run only the newest. */
  mourn(sentences: readonly string[]): void {
    this.state.losses = [...this.state.losses, ...sentences].slice(-MAX_LOSSES);
  }

  /** A worker as sentences name it. */
  nameOf(member: Member): string {
    const rank = this.state.members.indexOf(member);
    const place = rank >= 0 && this.state.generation > 0 ? `rank ${rank}, ` : "";
    return `worker ${member.id} (${place}host ${member.host}, pid ${member.pid}, last ${member.doing})`;
  }

  /** Adds a sentence to the reason. */
  because(sentence: string): void {
    this.reason = this.reason === "" ? sentence : `${this.reason}; ${sentence}`;
  }
}
