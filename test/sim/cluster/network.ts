// The ways between the coordinator and the workers, and among the workers. A way leads in one direction and can be cut by
// itself. A stream is what TCP gives: its messages arrive in order or not at all, whatever is cut arrives when that is
// healed, and a connection that is lost takes with it what was under way. Streams overtake each other, messages do not.

import type { ErrorCode } from "../../../common/errors.ts";
import type { Random } from "../../../common/random.ts";
import type { Timeline } from "./timeline.ts";

export const coordinatorName = "coordinator";

/** Whoever takes messages: one that stands still takes none, and they wait for it. */
export interface Endpoint {
  readonly name: string;
  readonly standsStill: boolean;
}

/** Ways that are cut together. */
export interface Cut {
  /** How often one of them was missed. */
  readonly bites: number;
  heal(): void;
}

/** From whom to whom. */
export type Way = readonly [from: string, to: string];

export class Network {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly #cuts = new Map<string, Set<{ bites: number }>>();
  /** Those whose next message waits for a healed way or an end that stands still. */
  readonly #held = new Set<() => void>();

  constructor(timeline: Timeline, random: Random) {
    this.timeline = timeline;
    this.random = random;
  }

  /** False when somebody would, and could not. */
  reaches(from: string, to: string): boolean {
    if (this.#cuts.size === 0) return true;
    const cuts = this.#cuts.get(`${from}>${to}`);
    if (cuts === undefined) return true;
    for (const cut of cuts) cut.bites += 1;
    return false;
  }

  cut(ways: readonly Way[]): Cut {
    const cut = { bites: 0, heal: () => this.#heal(keys, cut) };
    const keys = ways.map(([from, to]) => `${from}>${to}`);
    for (const key of keys) this.#cuts.set(key, (this.#cuts.get(key) ?? new Set()).add(cut));
    return cut;
  }

  #heal(keys: readonly string[], cut: { bites: number }): void {
    for (const key of keys) {
      const cuts = this.#cuts.get(key);
      if (cuts?.delete(cut) === true && cuts.size === 0) this.#cuts.delete(key);
    }
    this.released();
  }

  /** A way was healed, or somebody goes on who stood still. */
  released(): void {
    const waiting = [...this.#held];
    this.#held.clear();
    for (const go of waiting) go();
  }

  hold(go: () => void): void {
    this.#held.add(go);
  }

  /** Most messages take a few milliseconds, some a hundred times as long. */
  delayMs(): number {
    const { random } = this;
    return random.next() < 0.03 ? 20 + random.next() * 300 : 0.2 + random.next() * 5;
  }
}

/** What comes out of a stream. `closed` is called once at each end, whatever ended it. */
export interface StreamHandlers<M> {
  message(message: M): void;
  closed(why: Why): void;
}

/** Why a stream ended. */
export interface Why {
  readonly code: ErrorCode;
  readonly message: string;
}

/** One direction of a stream. */
class Lane<M> {
  readonly network: Network;
  readonly from: Endpoint;
  readonly to: Endpoint;
  handlers: StreamHandlers<M> | undefined;
  readonly #queue: { readonly message: M | Closed; readonly atMs: number }[] = [];
  #moving = false;
  #lastMs = 0;
  #over = false;

  constructor(network: Network, from: Endpoint, to: Endpoint) {
    this.network = network;
    this.from = from;
    this.to = to;
  }

  get length(): number {
    return this.#queue.length;
  }

  send(message: M | Closed): void {
    if (this.#over) return;
    this.#lastMs = Math.max(this.#lastMs, this.network.timeline.nowMs + this.network.delayMs());
    this.#queue.push({ message, atMs: this.#lastMs });
    this.#move();
  }

  /** What is under way does not arrive. */
  lose(why: Why): void {
    this.#queue.length = 0;
    this.send(new Closed(why));
  }

  /** Nobody listens any more. */
  end(): void {
    this.#over = true;
    this.#queue.length = 0;
  }

  #move(): void {
    const first = this.#queue[0];
    if (first === undefined || this.#moving) return;
    this.#moving = true;
    this.network.timeline.after(first.atMs - this.network.timeline.nowMs, () => this.#arrive());
  }

  #arrive(): void {
    if (this.#over) return;
    if (this.to.standsStill || !this.network.reaches(this.from.name, this.to.name)) {
      return this.network.hold(() => this.network.timeline.after(this.network.delayMs(), () => this.#arrive()));
    }
    this.#moving = false;
    const first = this.#queue.shift();
    if (first === undefined) return;
    if (first.message instanceof Closed) {
      this.end();
      this.handlers?.closed(first.message.why);
    } else this.handlers?.message(first.message);
    this.#move();
  }
}

class Closed {
  readonly why: Why;

  constructor(why: Why) {
    this.why = why;
  }
}

/** A connection of a worker to the coordinator: `up` are the messages to the coordinator. */
export class Stream<Up, Down> {
  readonly #up: Lane<Up>;
  readonly #down: Lane<Down>;

  constructor(network: Network, worker: Endpoint, coordinator: Endpoint) {
    this.#up = new Lane<Up>(network, worker, coordinator);
    this.#down = new Lane<Down>(network, coordinator, worker);
  }

  attend(coordinator: StreamHandlers<Up>, worker: StreamHandlers<Down>): void {
    this.#up.handlers = coordinator;
    this.#down.handlers = worker;
  }

  say(message: Up): void {
    this.#up.send(message);
  }

  tell(message: Down): void {
    this.#down.send(message);
  }

  /** The worker's end is closed. With `seen` the other end learns of it, after what was sent. */
  leave(message: string, seen = true): void {
    this.#down.end();
    if (seen) this.#up.send(new Closed({ code: "worker_lost", message }));
    else this.#up.end();
  }

  /** The coordinator's end is closed; the worker learns of it after what was sent. */
  dismiss(why: Why): void {
    this.#up.end();
    this.#down.send(new Closed(why));
  }

  /** The connection is lost, and with it what is under way; both ends learn of it. */
  reset(message: string): void {
    this.#up.lose({ code: "worker_lost", message });
    this.#down.lose({ code: "worker_lost", message });
  }

  /** The longer of both queues. */
  get length(): number {
    return Math.max(this.#up.length, this.#down.length);
  }
}
