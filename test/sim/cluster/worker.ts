// A worker's process as the coordinator sees it: it calls, is welcomed, sends heartbeats by a clock of its own, and when its
// stream is lost it goes on with what it has under way and calls again, as worker/train/session.ts does. What it works on
// is in tasks.ts. It can stand still and die at any moment.

import type { ErrorCode } from "../../../common/errors.ts";
import type { Effect } from "../../../coordinator/core/state.ts";
import { PROTOCOL_VERSION } from "../../../proto/version.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { Endpoint, Stream, Why } from "./network.ts";
import { Tasks } from "./tasks.ts";
import type { World } from "./world.ts";

/** What the coordinator sends. */
export type Task = Extract<Effect, { to: string }>;

/** Somebody else, or the same one later, may take the worker. */
const passing: ReadonlySet<ErrorCode> = new Set(["unavailable", "worker_lost", "timed_out"]);
/** Given up so often for being late, without a step in between, it does not come back. */
const MAX_LATE = 3;

export class SimulatedWorker implements Endpoint {
  readonly name: string;
  readonly tasks: Tasks;
  readonly #world: World;
  /** Its clock against the true one. */
  readonly #drift: number;
  alive = true;
  standsStill = false;
  /** Faults that may cost the run this worker. */
  readonly afflicted: string[] = [];
  /** Messages it has sent, for one who replays them. */
  readonly said: FromWorker[] = [];
  #stream: Stream<FromWorker, Task> | undefined;
  #isWelcome = false;
  #wasWelcome = false;
  /** Of the search that is under way. */
  #searchUntilMs = Infinity;
  #heart = 0;
  #late = { steps: -1, times: 0 };
  #doing = "joining";
  #inCollective = false;
  /** What falls due while it stands still. */
  #overdue: (() => void)[] = [];

  constructor(name: string, world: World) {
    this.name = name;
    this.#world = world;
    this.#drift = 0.9 + world.random.next() * 0.2;
    this.tasks = new Tasks(this, world);
  }

  /** Calls the coordinator and introduces itself; again and again, while there is time. */
  call(): void {
    const { random, timeline } = this.#world;
    if (timeline.nowMs > this.#searchUntilMs) {
      this.die("no coordinator takes it back");
      // Where nobody has weights yet, the run waits for as many as at first.
      if (!this.#world.witness.isUnderWay) this.#world.launch(1);
      return;
    }
    this.#stream = this.#world.connect(this);
    if (this.#stream === undefined) return this.later(100 + random.next() * 900, () => this.call());
    const who = { workerId: this.name, protocolVersion: PROTOCOL_VERSION, joinToken: "token", host: "h", pid: 1 };
    const holding = this.#wasWelcome ? { jobId: this.#world.job.id, ...this.tasks.holding() } : null;
    this.#stream.say({ kind: "join", value: { ...who, ringEndpoint: this.name, holding } });
  }

  /** What comes down a stream. */
  take(stream: Stream<FromWorker, Task>, task: Task): void {
    if (!this.alive || stream !== this.#stream) return;
    if (task.kind !== "welcome") return this.tasks.take(task);
    this.#isWelcome = this.#wasWelcome = true;
    this.#searchUntilMs = Infinity;
    this.#beatOn(++this.#heart);
  }

  /** A stream has ended. It keeps what it holds and calls again, if that can help. */
  lostStream(stream: Stream<FromWorker, Task>, { code, message }: Why): void {
    if (!this.alive || stream !== this.#stream || this.tasks.isFinished) return;
    const { job, timeline } = this.#world;
    this.#stream = undefined;
    this.#heart += 1;
    const wasThere = this.#isWelcome;
    this.#isWelcome = false;
    if (!this.#wasWelcome) {
      this.die(message);
      // Its supervisor starts another, unless that would be refused too.
      if (code !== "usage") this.#world.launch(1);
      return;
    }
    const { step } = this.tasks.holding();
    if (wasThere) {
      const times = this.#late.steps === step ? this.#late.times + 1 : 1;
      this.#late = { steps: step, times: code === "timed_out" ? times : 0 };
      this.#searchUntilMs = timeline.nowMs + job.recoverMs;
    }
    if (!passing.has(code) || job.recoverMs === 0 || this.#late.times > MAX_LATE) return this.die(message);
    this.later(wasThere ? 0 : 100 + this.#world.random.next() * 900, () => this.call());
  }

  /** The process is gone, at once. With `seen` its streams close. */
  die(reason: string, seen = true): void {
    if (!this.alive) return;
    this.alive = false;
    this.#world.trace(() => `${this.name} ends: ${reason}`);
    this.#stream?.leave(reason, seen);
    this.tasks.end(seen);
  }

  /** SIGSTOP, and SIGCONT after a while. */
  pause(ms: number): void {
    this.standsStill = true;
    this.#world.timeline.after(ms, () => {
      this.standsStill = false;
      for (const go of this.#overdue.splice(0)) go();
      this.#world.network.released();
    });
  }

  /** SIGTERM. */
  askToGo(message: string): void {
    if (this.#isWelcome) this.say({ kind: "leaving", value: { reason: message } });
    else this.die(message);
  }

  /** Its connection breaks under it. False when it has none. */
  loseConnection(): boolean {
    this.#stream?.reset("its connection was reset");
    return this.#stream !== undefined;
  }

  /** Nobody hears what it says while it has no stream. */
  say(message: FromWorker): void {
    if (!this.alive) return;
    if (message.kind !== "heartbeat" && this.said.push(message) > 30) this.said.shift();
    this.#stream?.say(message);
  }

  /** Says what it does, at once and with every heartbeat. */
  do(doing: string, inCollective = false): void {
    this.#doing = doing;
    this.#inCollective = inCollective;
    this.#beat(0);
  }

  /** Later, if it lives then, and later still if it stands still. */
  later(ms: number, go: () => void): void {
    const run = (): void => {
      if (!this.alive) return;
      if (this.standsStill) this.#overdue.push(run);
      else go();
    };
    this.#world.timeline.after(ms, run);
  }

  #beat(count: number): void {
    const value = { doing: this.#doing, inCollective: this.#inCollective, count };
    this.say({ kind: "heartbeat", value });
  }

  /** From a thread of their own, and by a clock that drifts. */
  #beatOn(heart: number, count = 1): void {
    const { job, random } = this.#world;
    this.later(job.heartbeatMs * this.#drift * (0.98 + random.next() * 0.04), () => {
      if (heart !== this.#heart) return;
      this.#beat(count);
      this.#beatOn(heart, count + 1);
    });
  }
}
