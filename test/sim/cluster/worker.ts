// A worker process as the coordinator and the other workers see it: it works through its messages in order, as
// worker/train/session.ts and task-queue.ts do; a commit overtakes, a new generation drops what was queued. Its weights are
// the number of steps in them and, after a fault, what is wrong with them.

import { addDigests, digestOfSample, emptyDigest } from "../../../common/sample-digest.ts";
import type { Effect } from "../../../coordinator/core/state.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { World } from "./world.ts";
import type { Endpoint, Stream } from "./network.ts";

/** What the coordinator sends. */
export type Task = Extract<Effect, { to: string }>;
export type Form = Extract<Task, { kind: "form" }>;
export type Plan = Extract<Task, { kind: "plan" }>;

/** Of a worker that can be told to lie. */
export type Lie = "gradients" | "rows";

export class SimulatedWorker implements Endpoint {
  readonly name: string;
  readonly #world: World;
  /** Its clock against the true one, and its speed against the others'. */
  readonly #drift: number;
  readonly #slowness: number;
  alive = true;
  standsStill = false;
  /** Faults that may cost the run this worker. */
  readonly afflicted: string[] = [];
  stream: Stream<FromWorker, Task> | undefined;
  /** Steps in its weights; -1: they were only half received. */
  steps = -1;
  /** What is wrong with the weights, if anything. */
  flaw = "";
  lie: Lie | undefined;
  generation = 0;
  members: readonly string[] = [];
  /** Messages it has sent, for one who replays them. */
  readonly said: FromWorker[] = [];
  #tasks: Task[] = [];
  #busy = false;
  /** It does something that it finishes before it looks at a new generation. */
  #isStubborn = false;
  /** Of the generation under way: what was begun before does not go on. */
  #epoch = 0;
  #committed = 0;
  #holding: Plan | undefined;
  /** Its ring broke: it waits for a new generation. */
  #isLeft = false;
  #isWriting = false;
  #hasEngine = false;
  #doing = "joining";
  #inCollective = false;
  #beats = 0;
  /** What falls due while it stands still. */
  #overdue: (() => void)[] = [];

  constructor(name: string, world: World) {
    this.name = name;
    this.#world = world;
    this.#drift = 0.9 + world.random.next() * 0.2;
    this.#slowness = 1 + world.random.next() * 2;
  }

  /** Calls the coordinator and introduces itself. */
  join(): void {
    this.stream = this.#world.connect(this);
    if (this.stream === undefined) return this.#later(300 + this.#world.random.next() * 400, () => this.join());
    const { name } = this;
    const introduction = { workerId: name, protocolVersion: 0, joinToken: "", host: "h", pid: 1 };
    this.#say({ kind: "join", value: { ...introduction, ringEndpoint: name, holding: null } });
  }

  /** What comes down the stream. */
  take(task: Task): void {
    if (!this.alive) return;
    switch (task.kind) {
      case "welcome":
        this.#beatOn();
        return;
      case "commit":
        return this.#commit(task);
      case "form":
      case "finish":
        // A commit that came before still counts, whatever else was under way does not.
        if (this.#holding !== undefined && this.#committed >= this.#holding.step) this.#apply(this.#holding);
        this.#drop();
        this.#isLeft = false;
        break;
      case "dismiss":
        return;
      default:
    }
    // What was planned for a generation that is over for this worker.
    if (this.#isLeft && task.kind !== "finish") return;
    this.#tasks.push(task);
    this.#world.invariants.hold("every queue is bounded", this.#tasks.length <= 8, () => {
      return `${this.#tasks.length} tasks wait at ${this.name}: ${this.#tasks.map(({ kind }) => kind).join(", ")}`;
    });
    this.#work();
  }

  /** The process is gone, at once. With `seen` its streams close. */
  die(reason: string, seen = true): void {
    if (!this.alive) return;
    this.alive = false;
    this.#epoch += 1;
    this.stream?.leave(reason, seen);
    if (seen) this.#world.ring.leave(this.name, this.generation);
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
  askToGo(reason: string): void {
    this.#say({ kind: "leaving", value: { reason } });
  }

  /** Nothing but its weights is compared. */
  digest(): string {
    return this.flaw === "" ? `d${this.steps}` : `d${this.steps} ${this.flaw}`;
  }

  #say(message: FromWorker): void {
    if (!this.alive) return;
    if (message.kind !== "heartbeat" && this.said.push(message) > 30) this.said.shift();
    this.stream?.say(message);
  }

  #do(doing: string, inCollective = false): void {
    this.#doing = doing;
    this.#inCollective = inCollective;
    this.#beat(0);
  }

  #beat(count: number): void {
    const value = { doing: this.#doing, inCollective: this.#inCollective, count };
    this.#say({ kind: "heartbeat", value });
  }

  /** Heartbeats, from a thread of their own and by a clock that drifts. */
  #beatOn(): void {
    const { job, random } = this.#world;
    this.#later(job.heartbeatMs * this.#drift * (0.98 + random.next() * 0.04), () => {
      this.#beat(++this.#beats);
      this.#beatOn();
    });
  }

  /** Later, if it lives then, and later still if it stands still. */
  #later(ms: number, go: () => void): void {
    const run = (): void => {
      if (!this.alive) return;
      if (this.standsStill) this.#overdue.push(run);
      else go();
    };
    this.#world.timeline.after(ms, run);
  }

  /** Within the generation under way. */
  #meanwhile(ms: number, go: () => void): void {
    const epoch = this.#epoch;
    this.#later(ms, () => {
      if (epoch === this.#epoch) go();
    });
  }

  #compute(ms: number): number {
    return ms * this.#slowness * (0.9 + this.#world.random.next() * 0.2);
  }

  #drop(): void {
    this.#epoch += 1;
    this.#tasks = [];
    this.#holding = undefined;
    this.#busy = this.#isStubborn;
  }

  /** Done to its end, whatever comes. */
  #finish(ms: number, go: () => void): void {
    this.#isStubborn = true;
    this.#later(ms, () => {
      this.#isStubborn = false;
      go();
      this.#next();
    });
  }

  #work(): void {
    if (this.#busy) return;
    const task = this.#tasks.shift();
    if (task === undefined) return;
    this.#busy = true;
    switch (task.kind) {
      case "prepare":
        return this.#finish(this.#compute(60), () => {
          this.#hasEngine = true;
          this.#say({ kind: "prepared", value: {} });
        });
      case "form":
        return this.#form(task);
      case "plan":
        return this.#plan(task);
      case "evaluate":
        return this.#evaluate(task);
      case "save":
        return this.#save(task);
      case "finish":
        return this.#leave(task);
      default:
        throw new Error(`${this.name} was sent an unexpected ${task.kind}`);
    }
  }

  #next(): void {
    this.#busy = false;
    this.#work();
  }

  #form(task: Form): void {
    const world = this.#world;
    world.invariants.hold("a commit needs every vote", task.generation > this.generation, () => {
      return `${this.name} has formed generation ${this.generation} and is to form ${task.generation}`;
    });
    world.ring.leave(this.name, this.generation);
    this.generation = task.generation;
    this.members = task.members.map(({ ringEndpoint }) => ringEndpoint);
    this.#committed = task.step;
    this.#do(`forming generation ${task.generation}`, true);
    const { source } = task;
    const receives = source.kind === "checkpoint" || (source.kind === "peer" && !source.keeps);
    this.#meanwhile(this.#hasEngine ? 1 : this.#compute(60), () => {
      this.#hasEngine = true;
      if (receives) world.loses(this);
      const call = { generation: task.generation, what: "form", members: this.members };
      world.ring.enter(this.name, call, {
        done: () => this.#meanwhile(0, () => this.#formed(task)),
        broken: (reason) => this.#meanwhile(0, () => this.#interrupted(reason)),
      });
    });
  }

  #formed({ source, generation, step }: Form): void {
    if (source.kind === "peer" && !source.keeps) {
      const root = this.#world.workerNamed(this.members[source.root]!);
      this.#world.invariants.hold("survivors are never restarted", root.steps === step, () => {
        return `${root.name} gives ${root.steps} steps to ${this.name}, which is to have ${step}`;
      });
      [this.steps, this.flaw] = [root.steps, root.flaw];
    } else if (source.kind !== "held" && source.kind !== "peer") [this.steps, this.flaw] = [step, ""];
    const value = { generation, step: this.steps, digest: this.digest(), engine: "simulated", engineWhy: [] };
    this.#say({ kind: "formed", value: { ...value, parameters: 1, notices: [], gpuUuid: "" } });
    this.#do("waiting for a plan");
    this.#next();
  }

  #plan(task: Plan): void {
    this.#do(`computing step ${task.step}`);
    this.#meanwhile(this.#compute(5 + 5 * task.shard.rows), () => {
      this.#do(`reducing step ${task.step}`, true);
      this.#world.computes(task);
      const call = { generation: task.generation, what: `step ${task.step}`, members: this.members };
      this.#world.ring.enter(this.name, call, {
        done: () => this.#meanwhile(0, () => this.#reduced(task)),
        broken: (reason) => this.#meanwhile(0, () => this.#interrupted(reason)),
      });
    });
  }

  #reduced(task: Plan): void {
    const { start, rows } = task.shard;
    this.#holding = task;
    const digest = this.lie === "gradients" ? `nonsense of ${this.name}` : `g${task.step}`;
    const times = { dataSeconds: 0, computeSeconds: 0.01 * rows * this.#slowness, allReduceSeconds: 0.01 };
    const value = { generation: task.generation, step: task.step, digest, times, bytesSent: 8, notFiniteRows: [] };
    const sums = { lossSum: lossOf(start, rows), tokens: rows, gradientNorm: 1 };
    const sampleDigest = digestOfRange(start, start + rows);
    const claimed = this.lie === "rows" ? rows + 1 : rows;
    if (this.lie !== undefined) this.#world.lied(this);
    this.#say({ kind: "reduced", value: { ...value, ...sums, rows: claimed, sampleDigest } });
    this.#do(`waiting for the commit of step ${task.step}`);
  }

  #commit({ generation, step }: Extract<Task, { kind: "commit" }>): void {
    const { invariants } = this.#world;
    const plan = this.#holding;
    invariants.hold("a commit needs every vote", plan?.step === step && plan.generation === generation, () => {
      return `step ${step} of generation ${generation} is committed, and ${this.name} has not reduced it`;
    });
    this.#committed = step;
    // Not dropped with the generation: what is committed is applied.
    this.#later(2, () => {
      if (this.#holding !== plan || plan === undefined) return;
      this.#apply(plan);
      this.#next();
    });
  }

  #apply(plan: Plan): void {
    this.#holding = undefined;
    this.#world.invariants.hold("exactly once", this.steps === plan.step - 1, () => {
      return `${this.name} applies step ${plan.step} to weights with ${this.steps} steps`;
    });
    this.steps = plan.step;
    const digest = plan.verify ? this.digest() : "";
    this.#say({ kind: "applied", value: { generation: plan.generation, step: plan.step, seconds: 0, digest } });
  }

  #evaluate(task: Extract<Task, { kind: "evaluate" }>): void {
    const world = this.#world;
    world.invariants.hold("exactly once", this.steps === task.step, () => {
      return `${this.name} validates step ${task.step} with ${this.steps} steps in its weights`;
    });
    this.#do(`validating step ${task.step}`);
    this.#finish(this.#compute(2 + task.shard.rows), () => {
      const lossSum = task.shard.rows * world.validationLoss(task.step);
      const sums = { lossSum, tokens: task.shard.rows, notFiniteRows: [], counts: null };
      this.#say({ kind: "evaluated", value: { generation: task.generation, step: task.step, ...sums } });
    });
  }

  /** Copies its part; it is written beside everything else, one at a time. */
  #save(task: Extract<Task, { kind: "save" }>): void {
    const world = this.#world;
    if (this.#isWriting) return this.#meanwhile(3, () => this.#save(task));
    world.invariants.hold("a checkpoint counts when it is whole", this.steps === task.step, () => {
      return `${this.name} copies the weights of step ${task.step} with ${this.steps} steps in them`;
    });
    const { step, attempt, part } = task;
    const file = { name: `part ${part}`, sizeBytes: this.steps, sha256: this.flaw };
    this.#isWriting = true;
    this.#later(this.#compute(5 + world.random.integer(60)), () => {
      this.#isWriting = false;
      if (world.diskFails()) {
        return this.#say({ kind: "notSaved", value: { step, attempt, reason: "the disk is full", neededBytes: 1 } });
      }
      const value = { step, attempt, files: [file], factsJson: part === 0 ? "{}" : "", times: null };
      this.#say({ kind: "saved", value });
    });
    this.#next();
  }

  /** Who drains writes what it has copied, and says so, before it goes. */
  #leave(task: Extract<Task, { kind: "finish" }>): void {
    if (task.drained && this.#isWriting) return this.#later(3, () => this.#leave(task));
    this.die("it ended its session");
  }

  #interrupted(reason: string): void {
    this.#drop();
    this.#isLeft = true;
    this.#do("waiting for a new generation", true);
    this.#say({ kind: "interrupted", value: { generation: this.generation, step: this.steps + 1, reason } });
    this.#next();
  }
}

/** Of positions of the stream, as their contents. */
export function digestOfRange(from: number, to: number): string {
  let digest = emptyDigest;
  for (let position = from; position < to; position++) digest = addDigests(digest, digestOfSample([position]));
  return digest;
}

/** Every sample has its own loss, so that one too many or too few shows. */
export function lossOf(start: number, rows: number): number {
  let sum = 0;
  for (let position = start; position < start + rows; position++) sum += 1 + (position % 13);
  return sum;
}
