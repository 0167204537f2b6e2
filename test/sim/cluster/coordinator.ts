// The coordinator's process around the real core: streams in, effects out, a timer, a clock, as coordinator/rpc/driver.ts
// has them. It can stand still, its clock can jump, and what arrives meanwhile waits for it.

import { advance, initialState } from "../../../coordinator/core/coordinator.ts";
import type { Effect, Event, Outcome, State } from "../../../coordinator/core/state.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import { coordinatorName, Stream, type Endpoint } from "./network.ts";
import { createWitness, type Witness } from "./witness.ts";
import type { SimulatedWorker, Task } from "./worker.ts";
import type { World } from "./world.ts";

export class SimulatedCoordinator implements Endpoint {
  readonly name = coordinatorName;
  readonly #world: World;
  readonly witness: Witness;
  readonly state: State;
  readonly sessions = new Map<string, Stream<FromWorker, Task>>();
  /** Which process speaks under a worker's id. */
  readonly processes = new Map<string, SimulatedWorker>();
  standsStill = false;
  outcome: Outcome | undefined;
  events = 0;
  #clockAheadMs = 0;
  /** When the timer is set to go off, by the true clock. */
  #timerMs = Infinity;
  #isOverdue = false;

  constructor(world: World) {
    this.#world = world;
    this.#clockAheadMs = world.random.integer(1e6);
    this.state = initialState(world.job, this.nowMs);
    this.witness = createWitness(world, this);
    this.#setTimer();
  }

  get nowMs(): number {
    return this.#world.timeline.nowMs + this.#clockAheadMs;
  }

  /** A worker calls. */
  accept(worker: SimulatedWorker): Stream<FromWorker, Task> {
    const stream = new Stream<FromWorker, Task>(this.#world.network, worker, this);
    let id: string | undefined;
    stream.attend(
      {
        message: (message) => {
          if (id !== undefined) return this.post({ kind: "said", id, message });
          if (message.kind !== "join" || this.outcome !== undefined) return stream.dismiss("the run is over");
          id = worker.name;
          while (this.processes.has(id)) id += "+";
          this.processes.set(id, worker);
          this.sessions.set(id, stream);
          const { ringEndpoint } = message.value;
          this.post({ kind: "joined", worker: { id, host: "h", pid: 1, ringEndpoint } });
        },
        closed: (reason) => {
          if (id === undefined) return;
          const left = id;
          this.sessions.delete(left);
          // The driver asks first how the process ended.
          this.#world.timeline.after(this.#world.random.integer(3) * 20, () => {
            this.post({ kind: "left", id: left, reason });
          });
        },
      },
      {
        message: (task) => worker.take(task),
        closed: (reason) => worker.die(reason),
      },
    );
    return stream;
  }

  post(event: Event): void {
    if (this.outcome !== undefined) return;
    this.events += 1;
    this.witness.before();
    const { effects, reason } = advance(this.#world.job, this.state, event, this.nowMs);
    this.#world.trace(() => `${describe(event)} => ${reason}`);
    this.witness.after(event, effects, reason);
    for (const effect of effects) this.#perform(effect);
    this.#setTimer();
  }

  /** It does nothing for a while, and finds its timer late. */
  standStill(ms: number): void {
    this.standsStill = true;
    this.#world.timeline.after(ms, () => {
      this.standsStill = false;
      const isOverdue = this.#isOverdue;
      this.#isOverdue = false;
      if (isOverdue) this.#timer();
      this.#world.network.released();
    });
  }

  jump(ms: number): void {
    this.#clockAheadMs += ms;
    this.#timerMs = Infinity;
    this.#setTimer();
  }

  #setTimer(): void {
    const { timeline } = this.#world;
    const dueMs = timeline.nowMs + Math.max(1, this.state.tickMs - this.nowMs);
    if (this.state.phase === "ended" || dueMs >= this.#timerMs) return;
    this.#timerMs = dueMs;
    timeline.after(dueMs - timeline.nowMs, () => {
      if (this.#timerMs === dueMs) this.#timer();
    });
  }

  #timer(): void {
    this.#timerMs = Infinity;
    if (this.standsStill) this.#isOverdue = true;
    else if (this.nowMs < this.state.tickMs) this.#setTimer();
    else this.post({ kind: "tick" });
  }

  /** The run directory answers. */
  #publish(effect: Extract<Effect, { kind: "publish" }>): void {
    const { attempt } = effect;
    if (this.#world.diskFails()) {
      return this.post({ kind: "unpublished", attempt, reason: "the disk is full", neededBytes: 1 });
    }
    this.witness.stored(effect);
    this.post({ kind: "published", attempt });
  }

  #perform(effect: Effect): void {
    this.#world.trace(() => `    ${summary(effect)}`);
    switch (effect.kind) {
      case "record":
        return this.witness.stored(effect);
      case "publish":
        this.#world.timeline.after(1 + this.#world.random.integer(20), () => this.#publish(effect));
        return;
      case "discard":
        return;
      case "ended":
        this.outcome = effect.outcome;
        return;
      case "launch":
        return this.#world.launch(effect.count);
      case "refuse":
        return;
      case "dismiss":
        this.sessions.get(effect.to)?.dismiss(effect.reason);
        this.sessions.delete(effect.to);
        return;
      default:
        this.sessions.get(effect.to)?.tell(effect);
    }
  }
}

function describe(event: Event): string {
  if (event.kind !== "said") return `${event.kind} ${JSON.stringify(event)}`;
  const { kind, value } = event.message;
  const { generation, step } = value as { generation?: number; step?: number };
  return `${event.id} says ${kind}${generation === undefined ? "" : ` g${generation}`}${step === undefined ? "" : ` s${step}`}`;
}

function summary(effect: Effect): string {
  const { kind, to, generation, step } = effect as { kind: string; to?: string; generation?: number; step?: number };
  return [kind, to, generation === undefined ? "" : `g${generation}`, step === undefined ? "" : `s${step}`].join(" ");
}
