// A coordinator, its workers, the network between them and what they write, under one seeded schedule of faults. The same
// schedule has the same history, event by event.

import { createRandom, type Random } from "../../../common/random.ts";
import { initialState } from "../../../coordinator/core/coordinator.ts";
import { isOver, recover } from "../../../coordinator/core/durable.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import type { Decision, Outcome } from "../../../coordinator/core/state.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import { SimulatedCoordinator } from "./coordinator.ts";
import { SimulatedDisk } from "./disk.ts";
import { faultNames, inflict, type Fault } from "./faults.ts";
import { Invariants } from "./invariants.ts";
import { coordinatorName, Network, type Stream } from "./network.ts";
import { resultOf, type Result, type Schedule } from "./schedule.ts";
import { Ring } from "./ring.ts";
import { SimulatedStore } from "./store.ts";
import { Timeline } from "./timeline.ts";
import { validationLoss } from "./validation-loss.ts";
import { createWitness, type Witness } from "./witness.ts";
import { SimulatedWorker, type Task } from "./worker.ts";
import type { World } from "./world.ts";

/** Once nothing more happens to it, a run has so long to end: for every wait that can follow, and the steps. */
const PATIENCE_MS = 600_000;
const MOST_EVENTS = 300_000;

export class Cluster implements World {
  readonly job: Job;
  readonly random: Random;
  readonly timeline = new Timeline();
  readonly invariants = new Invariants();
  readonly network: Network;
  readonly ring: Ring;
  readonly disk: SimulatedDisk;
  readonly store: SimulatedStore;
  readonly witness: Witness;
  readonly workers: SimulatedWorker[] = [];
  readonly fired = Object.fromEntries(faultNames.map((name) => [name, 0])) as Record<Fault, number>;
  readonly schedule: Schedule;
  readonly #write: ((line: string) => void) | undefined;
  readonly #liars = new Map<SimulatedWorker, () => void>();
  coordinator: SimulatedCoordinator | undefined;
  outcome: Outcome | undefined;
  /** What the core has decided last, told or not. */
  decided: Outcome | undefined;
  events = 0;
  #isStirred = false;
  #faultsLeft: number;
  /** When the last fault that is under way ends. */
  #calmMs = 0;

  constructor(schedule: Schedule, write?: (line: string) => void) {
    this.schedule = schedule;
    this.#write = write;
    this.#faultsLeft = schedule.faults.count;
    this.job = schedule.job;
    this.random = createRandom(schedule.seed, "simulation");
    this.network = new Network(this.timeline, createRandom(schedule.seed, "network"));
    this.disk = new SimulatedDisk(this);
    this.store = new SimulatedStore(this.timeline, createRandom(schedule.seed, "store"), () => this.stir());
    this.witness = createWitness(this);
    this.ring = new Ring(this.network, (call) => this.witness.reduced(call));
  }

  async run(): Promise<Result> {
    const { timeline, invariants } = this;
    await this.#start();
    this.launch(this.job.workers);
    this.#injectSoon();
    const { stopAfterMs } = this.schedule;
    if (stopAfterMs !== undefined) {
      timeline.after(stopAfterMs, () => this.coordinator?.post({ kind: "stop", reason: "asked to stop" }));
    }
    while (this.outcome === undefined) {
      const isMoving = timeline.advance() && this.events < MOST_EVENTS;
      if (this.#isStirred) await this.#settle();
      if (invariants.broken !== undefined) throw invariants.broken;
      const isLate = this.#faultsLeft === 0 && timeline.nowMs > this.#calmMs + PATIENCE_MS;
      if (isMoving && !isLate) continue;
      invariants.hold("the run goes on", false, () => {
        const { phase, committed, members } = this.coordinator?.state ?? {};
        const since = Math.round(timeline.nowMs - this.#calmMs);
        return `${this.events} events, ${since} ms after the last fault it is ${phase}, ${committed} steps committed, ${members?.length} members`;
      });
    }
    invariants.hold("the run goes on", true, () => "");
    return resultOf(this, this.outcome);
  }

  workerNamed(name: string): SimulatedWorker {
    return this.workers.find((worker) => worker.name === name)!;
  }

  workersAfflictedBy(...faults: readonly string[]): boolean {
    return this.workers.some(({ afflicted }) => afflicted.some((fault) => faults.includes(fault)));
  }

  connect(worker: SimulatedWorker): Stream<FromWorker, Task> | undefined {
    const isReached =
      this.network.reaches(worker.name, coordinatorName) && this.network.reaches(coordinatorName, worker.name);
    return isReached ? this.coordinator?.accept(worker) : undefined;
  }

  launch(count: number): void {
    for (let i = 0; i < count; i++) {
      const worker = new SimulatedWorker(`w${this.workers.length}`, this);
      this.workers.push(worker);
      worker.later(this.random.next() * 50, () => worker.call());
    }
  }

  lied(worker: SimulatedWorker): void {
    this.#liars.get(worker)?.();
    this.#liars.delete(worker);
  }

  firesWhenLied(worker: SimulatedWorker, fired: () => void): void {
    this.#liars.set(worker, fired);
  }

  stops(coordinator: SimulatedCoordinator, reason: string): void {
    this.trace(() => `the coordinator stops: ${reason}`);
    this.kill(coordinator, 1000 * this.random.next());
  }

  /** The coordinator's process dies, and another is started after a while. True if it was writing. */
  kill(coordinator: SimulatedCoordinator, restartMs: number): boolean {
    coordinator.die();
    this.coordinator = undefined;
    this.stir();
    const { invariants } = this;
    const wasWriting = this.store.crash();
    this.endsAfter(restartMs, () => {
      this.#start().catch((error: unknown) => (invariants.broken ??= error as Error));
    });
    return wasWriting;
  }

  decides({ effects }: Decision): void {
    this.events += 1;
    const ended = effects.find(({ kind }) => kind === "ended");
    if (ended?.kind === "ended") this.decided = ended.outcome;
  }

  ends(outcome: Outcome): void {
    const { coordinator } = this;
    this.disk.afterwards(() => {
      if (outcome.kind !== "forsaken") this.outcome ??= outcome;
      else if (coordinator?.alive === true) {
        this.#goOnWithout(coordinator, outcome.generation).catch((error: unknown) => {
          this.invariants.broken ??= error as Error;
        });
      }
    });
  }

  /** Nobody came back: the same process goes on from the newest checkpoint, as coordinator/training.ts does, and a person starts workers. */
  async #goOnWithout(before: SimulatedCoordinator, generation: number): Promise<void> {
    before.die();
    this.coordinator = undefined;
    this.decided = undefined;
    this.fired["all are cut off"] += 1;
    const start = this.disk.rewind(this.job.start);
    this.witness.forsaken(start.step);
    const store = this.store.open();
    this.stir();
    await store.load();
    const ahead = this.random.integer(2e6);
    const job = { ...this.job, start };
    const state = initialState(job, this.timeline.nowMs + ahead, generation);
    this.coordinator = new SimulatedCoordinator(this, ahead, { job, state, store });
    this.launch(job.workers);
  }

  validationLoss(step: number): number {
    return validationLoss(this.schedule.seed, step);
  }

  stir(): void {
    this.#isStirred = true;
  }

  trace(line: () => string): void {
    this.#write?.(`${this.timeline.nowMs.toFixed(1)} ${line()}`);
  }

  /** Members that hold the weights and to which nothing has happened. */
  reliable(): SimulatedWorker[] {
    // Before anybody was told of a step, a coordinator that starts again waits for as many workers as at first.
    if (!this.witness.isUnderWay) return [];
    const here = (this.coordinator?.state.members ?? []).filter(({ holds, status }) => holds && status !== "draining");
    return here.map(({ id }) => this.workerNamed(id)).filter(({ alive, afflicted }) => alive && afflicted.length === 0);
  }

  /** A fault that is under way ends then. */
  endsAfter(ms: number, end: () => void): void {
    this.#calmMs = Math.max(this.#calmMs, this.timeline.nowMs + ms);
    this.timeline.after(ms, end);
  }

  /** A coordinator's process begins with what is there. */
  async #start(): Promise<void> {
    this.stir();
    const ahead = this.random.integer(2e6);
    const nowMs = this.timeline.nowMs + ahead;
    if (this.job.recoverMs === 0) {
      const beginning = { job: this.job, state: initialState(this.job, nowMs), store: undefined };
      this.coordinator = new SimulatedCoordinator(this, ahead, beginning);
      return;
    }
    const store = this.store.open();
    const facts = await store.load();
    if (facts !== undefined) this.disk.settle(facts);
    if (facts !== undefined && isOver(facts)) {
      this.outcome ??= this.decided;
      return;
    }
    const step = this.disk.published.at(-1);
    const start =
      step === undefined ? this.job.start : ({ kind: "checkpoint", step, path: "", validations: [] } as const);
    const job = { ...this.job, start };
    const state = facts === undefined ? initialState(job, nowMs) : recover(job, facts, nowMs);
    if (facts !== undefined) this.witness.recovered(state);
    this.coordinator = new SimulatedCoordinator(this, ahead, { job, state, store });
  }

  /** Whatever was promised by now has happened. */
  async #settle(): Promise<void> {
    while (this.#isStirred) {
      this.#isStirred = false;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #injectSoon(): void {
    const { kinds, everyMs } = this.schedule.faults;
    if (this.#faultsLeft === 0 || kinds.length === 0) return;
    this.timeline.after(2 * everyMs * this.random.next(), () => {
      this.#faultsLeft -= 1;
      this.#calmMs = Math.max(this.#calmMs, this.timeline.nowMs);
      const kind = kinds[this.random.integer(kinds.length)]!;
      this.trace(() => `*** ${kind}`);
      if (this.coordinator !== undefined) inflict(kind, this, this.coordinator, () => (this.fired[kind] += 1));
      this.#injectSoon();
    });
  }
}
