// What a simulation is asked for and what it answers.

import type { Job } from "../../../coordinator/core/job.ts";
import type { Outcome } from "../../../coordinator/core/state.ts";
import { Cluster } from "./cluster.ts";
import type { Fault } from "./faults.ts";
import type { Invariant } from "./invariants.ts";

export interface Schedule {
  readonly seed: number;
  readonly job: Job;
  readonly faults: {
    readonly kinds: readonly Fault[];
    /** How many are tried, and how far apart, in simulated milliseconds. */
    readonly count: number;
    readonly everyMs: number;
  };
  /** Ask the run to stop after so many simulated milliseconds. */
  readonly stopAfterMs?: number;
}

export interface Result {
  readonly outcome: Outcome;
  readonly events: number;
  readonly simulatedMs: number;
  /** How often each fault took effect. */
  readonly fired: Readonly<Record<Fault, number>>;
  readonly checked: Readonly<Record<Invariant, number>>;
  readonly generations: number;
  /** In the run directory, by step and in order. */
  readonly steps: readonly number[];
  readonly validations: readonly number[];
  readonly published: readonly number[];
  /** The step that `best` points to at the end. */
  readonly best: number | undefined;
  readonly states: ReadonlySet<string>;
  /** Workers with a flaw in their weights at the end. */
  readonly flawed: readonly string[];
  /** Sentences of the core. */
  readonly reasons: readonly string[];
}

/** Runs one schedule to its end. Throws when an invariant does not hold. */
export function simulate(schedule: Schedule): Promise<Result> {
  return new Cluster(schedule).run();
}

/** The same, written down: what happened when, to the end or to the first invariant that did not hold. */
export async function history(schedule: Schedule): Promise<string[]> {
  const lines: string[] = [];
  try {
    await new Cluster(schedule, (line) => lines.push(line)).run();
  } catch (error) {
    lines.push((error as Error).message);
  }
  return lines;
}

export function resultOf(cluster: Cluster, outcome: Outcome): Result {
  const { disk, witness, coordinator } = cluster;
  const { state } = coordinator ?? {};
  const members = (state?.members ?? []).map(({ id }) => cluster.workerNamed(id));
  const recorded = (wanted: string): number[] =>
    disk.records.filter(({ kind }) => kind === wanted).map(({ step }) => step);
  return {
    outcome,
    events: cluster.events,
    simulatedMs: cluster.timeline.nowMs,
    fired: cluster.fired,
    checked: cluster.invariants.checked,
    generations: state?.generation ?? 0,
    steps: recorded("step"),
    validations: recorded("validation"),
    published: disk.published,
    best: disk.best,
    states: witness.states,
    flawed: members.filter(({ alive, tasks }) => alive && tasks.flaw !== "").map(({ name }) => name),
    reasons: witness.reasons,
  };
}
