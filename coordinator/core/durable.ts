// What a coordinator must not forget, and how it goes on from that: facts out of a state, a state out of facts. All of the
// state is a fact but what follows from the rest, what is asked anew (votes, digests, validations under way) and what only
// time says (pulses, deadlines). Pure; where facts are kept is not known here (coordinator/durable/store.ts).

import { RingtuneError } from "../../common/errors.ts";
import type { Facts, Json } from "../durable/store.ts";
import { copyOf } from "./copy.ts";
import { initialState } from "./coordinator.ts";
import type { Job } from "./job.ts";
import { absent, awaitReturn } from "./returning.ts";
import type { Absent, State } from "./state.ts";
import { Draft } from "./draft.ts";

/** Raised when facts change their meaning. */
const VERSION = 1;

/** Not kept. Whatever the state gets besides is, so that nothing is forgotten by mistake. */
const forgotten = [
  ...(["phase", "joining", "planned", "formed", "votes", "validating", "recovery"] as const),
  ...(["interrupted", "attempts", "complaints", "deadlineMs", "tickMs"] as const),
  ...(["measure", "links"] as const),
  // Who was writing what: it is written anew.
  ...(["saves", "owed", "unsaved"] as const),
] satisfies (keyof State)[];

/** Kept in another form. */
interface Changed {
  readonly members: readonly Absent[];
  readonly applying: Omit<NonNullable<State["applying"]>, "pending" | "digests"> | null;
  readonly ledger: Omit<State["ledger"], "leases">;
}

type Kept = Omit<State, (typeof forgotten)[number] | keyof Changed> & Changed;

/** Shares nothing with the state. */
export function factsOf(job: Job, state: State): Facts {
  const { applying, ledger, recovery } = state;
  const kept = Object.fromEntries(
    Object.entries(state).filter(([name]) => !(forgotten as readonly string[]).includes(name)),
  );
  const outstanding = ledger.leases.reduce((rows, each) => rows + each.rows, 0);
  const changed: Changed = {
    members: [...state.members.map(absent), ...(recovery?.awaited ?? [])],
    applying: applying && { record: applying.record, slowest: applying.slowest, sinceMs: applying.sinceMs },
    // What is leased when a coordinator dies is given back.
    ledger: {
      position: ledger.position,
      counts: { ...ledger.counts, requeued: ledger.counts.requeued + outstanding },
    },
  };
  return copyOf({ ...kept, ...changed, ...identityOf(job) }) as unknown as Facts;
}

/** The facts that are others than before. Empty for most events: who asks for a decision without effects wastes its time. */
export function changesOf(before: Facts, now: Facts): Facts {
  return Object.fromEntries(Object.entries(now).filter(([name, value]) => !same(before[name], value)));
}

/** The run has ended for good. */
export function isOver(facts: Facts): boolean {
  return facts["over"] === true;
}

/** Somebody has held weights, so that `recover` needs no records of the run. */
export function isEstablished(facts: Facts): boolean {
  return facts["established"] === true;
}

/**
 * The state of a coordinator that starts again, waiting for its workers. `job.start` is what is on disk now.
 * Throws `checkpoint_invalid` when the facts are of another job or version.
 */
export function recover(job: Job, facts: Facts, nowMs: number): State {
  for (const [name, expected] of Object.entries(identityOf(job))) {
    if (same(facts[name], expected)) continue;
    const both = `${name} is ${JSON.stringify(facts[name])} in it, ${JSON.stringify(expected)} now`;
    throw new RingtuneError("checkpoint_invalid", `what the coordinator kept is not of this job: ${both}`);
  }
  const kept = facts as unknown as Kept;
  const fresh = initialState(job, nowMs, kept.generation);
  // Nobody has anything yet that a checkpoint or the seed does not have.
  if (!kept.established) return fresh;
  const { members, applying, ledger, ...rest } = copyOf(kept);
  const known: Record<string, unknown> = Object.fromEntries(Object.entries(rest).filter(([name]) => name in fresh));
  const order = members.map(({ id }) => id);
  const state: State = {
    ...fresh,
    ...known,
    // Who was writing what is forgotten: a checkpoint of what is committed is made when the run goes on.
    saved: Math.min(job.start.step, kept.committed),
    owed: job.start.step < kept.committed,
    ledger: { ...ledger, leases: [] },
    applying: applying && { ...applying, pending: order, digests: {} },
  };
  const draft = new Draft(job, state, nowMs);
  awaitReturn(draft, members, order, "the coordinator was started again");
  state.tickMs = state.deadlineMs;
  return state;
}

function identityOf({ id, globalBatch, samplesPerEpoch }: Job): Record<string, Json> {
  return { version: VERSION, job: id, globalBatch, samplesPerEpoch };
}

function same(a: Json | undefined, b: Json | undefined): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  const [mine, others] = [a, b].map((value) => Object.entries(value)) as [[string, Json][], [string, Json][]];
  return mine.length === others.length && mine.every(([name, value]) => same(value, (b as Record<string, Json>)[name]));
}
