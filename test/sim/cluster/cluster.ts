// A coordinator, its workers and the network between them, under one seeded schedule of faults. The same schedule has the
// same history, event by event.

import { createRandom, type Random } from "../../../common/random.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { Outcome } from "../../../coordinator/core/state.ts";
import { SimulatedCoordinator } from "./coordinator.ts";
import { faultNames, inflict, type Fault } from "./faults.ts";
import { Invariants, type Invariant } from "./invariants.ts";
import { Network, type Stream } from "./network.ts";
import { Ring } from "./ring.ts";
import { Timeline } from "./timeline.ts";
import { SimulatedWorker, type Plan, type Task } from "./worker.ts";
import type { World } from "./world.ts";

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
  readonly steps: readonly number[];
  readonly validations: readonly number[];
  readonly published: readonly number[];
  /** The step that `best` points to at the end. */
  readonly best: number | undefined;
  readonly states: ReadonlySet<string>;
  /** Members with a flaw in their weights at the end. */
  readonly flawed: readonly string[];
  /** Sentences of the core. */
  readonly reasons: readonly string[];
}

/** Once nothing more happens to it, a run has so long to end: for every wait that can follow, and the steps. */
const PATIENCE_MS = 600_000;
const MOST_EVENTS = 200_000;

/** What a simulated validation finds, per row: a coarse number, so that equals occur. */
export function validationLoss(seed: number, step: number): number {
  const key = `${seed} ${step}`;
  const known = losses.get(key) ?? 1 + createRandom(seed, `loss ${step}`).integer(6);
  losses.set(key, known);
  return known;
}

const losses = new Map<string, number>();

export class Cluster implements World {
  readonly job: Job;
  readonly random: Random;
  readonly timeline = new Timeline();
  readonly invariants = new Invariants();
  readonly network: Network;
  readonly ring: Ring;
  readonly coordinator: SimulatedCoordinator;
  readonly workers: SimulatedWorker[] = [];
  readonly fired = Object.fromEntries(faultNames.map((name) => [name, 0])) as Record<Fault, number>;
  readonly #schedule: Schedule;
  readonly #write: ((line: string) => void) | undefined;
  readonly #fullDisks: (() => void)[] = [];
  readonly #liars = new Map<SimulatedWorker, () => void>();
  #faultsLeft: number;
  /** When the last fault that is under way ends. */
  #calmMs = 0;

  constructor(schedule: Schedule, write?: (line: string) => void) {
    this.#schedule = schedule;
    this.#write = write;
    this.#faultsLeft = schedule.faults.count;
    this.job = schedule.job;
    this.random = createRandom(schedule.seed, "simulation");
    this.network = new Network(this.timeline, createRandom(schedule.seed, "network"));
    this.ring = new Ring(this.network, (call) => this.coordinator.witness.reduced(call));
    this.coordinator = new SimulatedCoordinator(this);
  }

  run(): Result {
    const { coordinator, timeline, invariants } = this;
    this.launch(this.job.workers);
    this.#injectSoon();
    const { stopAfterMs } = this.#schedule;
    if (stopAfterMs !== undefined) {
      timeline.after(stopAfterMs, () => coordinator.post({ kind: "stop", reason: "asked to stop" }));
    }
    while (coordinator.outcome === undefined) {
      const isMoving = timeline.advance() && coordinator.events < MOST_EVENTS;
      const isLate = this.#faultsLeft === 0 && timeline.nowMs > this.#calmMs + PATIENCE_MS;
      if (isMoving && !isLate) continue;
      invariants.hold("the run goes on", false, () => {
        const { phase, committed, members } = coordinator.state;
        return `${coordinator.events} events, ${Math.round(timeline.nowMs - this.#calmMs)} ms after the last fault it is ${phase}, ${committed} steps committed, ${members.length} members`;
      });
    }
    invariants.hold("the run goes on", true, () => "");
    return this.#result(coordinator.outcome);
  }

  workerNamed(name: string): SimulatedWorker {
    return this.workers.find((worker) => worker.name === name)!;
  }

  /** Who speaks under this id. */
  process(id: string): SimulatedWorker {
    return this.coordinator.processes.get(id)!;
  }

  connect(worker: SimulatedWorker): Stream<FromWorker, Task> | undefined {
    return this.coordinator.accept(worker);
  }

  launch(count: number): void {
    for (let i = 0; i < count; i++) {
      const worker = new SimulatedWorker(`w${this.workers.length}`, this);
      this.workers.push(worker);
      this.timeline.after(this.random.next() * 50, () => worker.join());
    }
  }

  computes(plan: Plan): void {
    this.coordinator.witness.computed(plan);
  }

  loses(worker: SimulatedWorker): void {
    worker.steps = -1;
  }

  lied(worker: SimulatedWorker): void {
    worker.lie = undefined;
    this.#liars.get(worker)?.();
    this.#liars.delete(worker);
  }

  diskFails(): boolean {
    const fired = this.#fullDisks.shift();
    fired?.();
    return fired !== undefined;
  }

  fillsDisk(fired: () => void): void {
    this.#fullDisks.push(fired);
  }

  firesWhenLied(worker: SimulatedWorker, fired: () => void): void {
    this.#liars.set(worker, fired);
  }

  validationLoss(step: number): number {
    return validationLoss(this.#schedule.seed, step);
  }

  trace(line: () => string): void {
    this.#write?.(`${this.timeline.nowMs.toFixed(1)} ${line()}`);
  }

  /** Members that hold the weights and to which nothing has happened. */
  reliable(): SimulatedWorker[] {
    const { established, members } = this.coordinator.state;
    if (!established) return [];
    const here = members
      .filter(({ holds, status }) => holds && status !== "draining")
      .map(({ id }) => this.process(id));
    return here.filter((worker) => worker.alive && worker.afflicted.length === 0);
  }

  /** A fault that is under way ends then. */
  endsAfter(ms: number, end: () => void): void {
    this.#calmMs = Math.max(this.#calmMs, this.timeline.nowMs + ms);
    this.timeline.after(ms, end);
  }

  #injectSoon(): void {
    const { kinds, everyMs } = this.#schedule.faults;
    if (this.#faultsLeft === 0 || kinds.length === 0) return;
    this.timeline.after(2 * everyMs * this.random.next(), () => {
      this.#faultsLeft -= 1;
      this.#calmMs = Math.max(this.#calmMs, this.timeline.nowMs);
      const kind = kinds[this.random.integer(kinds.length)]!;
      this.trace(() => `*** ${kind}`);
      inflict(kind, this, () => (this.fired[kind] += 1));
      this.#injectSoon();
    });
  }

  #result(outcome: Outcome): Result {
    const { coordinator, invariants } = this;
    const { steps, validations, published, best, states, reasons } = coordinator.witness;
    const flawed = coordinator.state.members
      .map(({ id }) => this.process(id))
      .filter(({ alive, flaw }) => alive && flaw !== "");
    return {
      ...{ outcome, steps, validations, published, best, states, reasons, fired: this.fired },
      events: coordinator.events,
      simulatedMs: this.timeline.nowMs,
      checked: invariants.checked,
      generations: coordinator.state.generation,
      flawed: flawed.map(({ name }) => name),
    };
  }
}

/** Runs one schedule to its end. Throws when an invariant does not hold. */
export function simulate(schedule: Schedule): Result {
  return new Cluster(schedule).run();
}

/** The same, written down: what happened when, to the end or to the first invariant that did not hold. */
export function history(schedule: Schedule): string[] {
  const lines: string[] = [];
  try {
    new Cluster(schedule, (line) => lines.push(line)).run();
  } catch (error) {
    lines.push((error as Error).message);
  }
  return lines;
}
