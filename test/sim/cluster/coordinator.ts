// A coordinator's process around the real core, the real sessions and the real write-ahead: what coordinator/rpc/driver.ts
// is to them outside, on simulated streams, clock and store. It can stand still, its clock can jump, and it can die at any
// moment; then a new one starts on what the store and the disk have.

import type { RingtuneError } from "../../../common/errors.ts";
import { advance } from "../../../coordinator/core/coordinator.ts";
import { changesOf, factsOf } from "../../../coordinator/core/durable.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import type { Decision, Effect, Event, State } from "../../../coordinator/core/state.ts";
import { noRecords, recordFact } from "../../../coordinator/durable/recorded.ts";
import type { DurableStore, Facts } from "../../../coordinator/durable/store.ts";
import { createSessions, type Sessions } from "../../../coordinator/rpc/sessions.ts";
import { createWriteAhead, type WriteAhead } from "../../../coordinator/rpc/write-ahead.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { WorkerSession } from "../../../proto/session.ts";
import { coordinatorName, Stream, type Endpoint } from "./network.ts";
import type { SimulatedWorker, Task } from "./worker.ts";
import type { World } from "./world.ts";

export interface Beginning {
  /** Of this start: it begins with what is on disk. */
  readonly job: Job;
  readonly state: State;
  /** Left out, nothing is written ahead, as in `ringtune train`. */
  readonly store: DurableStore | undefined;
}

/** The coordinator's end of a stream, as the sessions know it. */
class Session implements WorkerSession {
  readonly peer: string;
  readonly arrivedMs = 0;
  readonly stream: Stream<FromWorker, Task>;

  constructor(peer: string, stream: Stream<FromWorker, Task>) {
    this.peer = peer;
    this.stream = stream;
  }

  send(): never {
    throw new Error("effects are sent as they are, see SimulatedCoordinator.perform");
  }

  reject({ code, message }: RingtuneError): void {
    this.stream.dismiss({ code, message });
  }

  end(): void {
    this.stream.dismiss({ code: "cancelled", message: "the coordinator ended the session" });
  }
}

export class SimulatedCoordinator implements Endpoint {
  readonly name = coordinatorName;
  readonly state: State;
  readonly #world: World;
  readonly #job: Job;
  readonly #sessions: Sessions;
  readonly #streams = new Set<Stream<FromWorker, Task>>();
  readonly #ahead: WriteAhead | undefined;
  #facts: Facts;
  #records = 0;
  standsStill = false;
  alive = true;
  /** Decisions whose effects wait for the store. */
  held = 0;
  #clockAheadMs: number;
  /** When the timer is set to go off, by the true clock. */
  #timerMs = Infinity;
  #isOverdue = false;

  /** Its clock may be set to anything when it starts. */
  constructor(world: World, clockAheadMs: number, { job, state, store }: Beginning) {
    this.#world = world;
    this.#job = job;
    this.#clockAheadMs = clockAheadMs;
    this.state = state;
    this.#facts = store === undefined ? {} : factsOf(job, state);
    this.#ahead =
      store &&
      createWriteAhead(store, (error) => {
        if (this.alive) this.#world.stops(this, (error as Error).message);
      });
    this.#sessions = createSessions({
      jobId: job.id,
      // Who may join is not simulated: everybody may.
      admission: { await: () => () => undefined, check: () => undefined, isNoise: () => false },
      post: (event) => this.post(event),
      observe: () => undefined,
      decided: (reason) => world.trace(() => reason),
      lastWords: () => this.#lastWords(),
    });
    if (this.#ahead !== undefined) this.#pass({ ...noRecords, ...this.#facts }, () => undefined);
    this.#setTimer();
  }

  get nowMs(): number {
    return this.#world.timeline.nowMs + this.#clockAheadMs;
  }

  /** A worker calls. */
  accept(worker: SimulatedWorker): Stream<FromWorker, Task> {
    const stream = new Stream<FromWorker, Task>(this.#world.network, worker, this);
    const session = this.#sessions.accept(new Session(worker.name, stream));
    this.#streams.add(stream);
    stream.attend(
      {
        message: (said) => {
          if (this.alive) session.message(said);
        },
        closed: (why) => {
          this.#streams.delete(stream);
          this.#world.stir();
          if (this.alive) session.closed(why.message);
        },
      },
      { message: (task) => worker.take(stream, task), closed: (why) => worker.lostStream(stream, why) },
    );
    return stream;
  }

  post(event: Event): void {
    if (!this.alive || this.#world.outcome !== undefined) return;
    const { witness } = this.#world;
    witness.before();
    const decision = advance(this.#job, this.state, event, this.nowMs);
    this.#world.trace(() => `${describe(event)} => ${decision.reason}`);
    witness.after(event, decision);
    this.#world.decides(decision);
    if (decision.effects.length > 0) this.#carryOut(decision);
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

  /** The process is gone; the system closes its connections, so that everybody learns of it. */
  die(): void {
    this.alive = false;
    for (const stream of this.#streams) stream.dismiss({ code: "worker_lost", message: "the coordinator is gone" });
    this.#world.network.released();
  }

  /** How a worker's process ended is asked first. */
  #lastWords(): Promise<undefined> {
    return new Promise((resolve) => {
      this.#world.timeline.after(this.#world.random.integer(3) * 20, () => {
        this.#world.stir();
        resolve(undefined);
      });
    });
  }

  #carryOut({ effects }: Decision): void {
    const targets = effects.map((effect) => ("to" in effect ? this.#sessions.of(effect.to) : undefined));
    const release = (): void => {
      effects.forEach((effect, index) => this.#perform(effect, targets[index] as Session | undefined));
    };
    if (this.#ahead === undefined) return release();
    const before = this.#facts;
    this.#facts = factsOf(this.#job, this.state);
    const records = effects.map((effect) =>
      effect.kind === "record" ? recordFact((this.#records += 1), effect.record) : {},
    );
    this.#pass(Object.assign({}, changesOf(before, this.#facts), ...records) as Facts, release);
  }

  /** Nothing that a dead process has decided leaves it. */
  #pass(changes: Facts, release: () => void): void {
    this.held += 1;
    this.#world.stir();
    this.#ahead?.pass(changes, () => {
      this.held -= 1;
      if (this.alive) release();
    });
  }

  #setTimer(): void {
    const { timeline } = this.#world;
    const dueMs = timeline.nowMs + Math.max(1, this.state.tickMs - this.nowMs);
    if (!this.alive || this.state.phase === "ended" || dueMs >= this.#timerMs) return;
    this.#timerMs = dueMs;
    timeline.after(dueMs - timeline.nowMs, () => {
      if (this.#timerMs === dueMs && this.alive) this.#timer();
    });
  }

  #timer(): void {
    this.#timerMs = Infinity;
    if (this.standsStill) this.#isOverdue = true;
    else if (this.nowMs < this.state.tickMs) this.#setTimer();
    else this.post({ kind: "tick" });
  }

  #perform(effect: Effect, session: Session | undefined): void {
    this.#world.trace(() => `    ${summary(effect)}`);
    this.#world.witness.left(effect);
    switch (effect.kind) {
      case "record":
      case "publish":
        return this.#world.disk.write(effect, this);
      case "ended":
        return this.#world.ends(effect.outcome);
      case "launch":
        return this.#world.launch(effect.count);
      case "refuse":
      case "discard":
        return;
      case "dismiss":
        return this.#sessions.dismiss(effect.to, session, {
          code: effect.code,
          message: effect.reason,
        } as RingtuneError);
      case "finish":
        if (effect.drained) this.#sessions.drained(effect.to);
        return session?.stream.tell(effect);
      default:
        session?.stream.tell(effect);
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
