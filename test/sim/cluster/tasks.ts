// What a worker works on: messages in their order, as worker/train/task-queue.ts and trainer.ts have it; a commit overtakes,
// a new generation drops what was queued. Its weights are the number of steps in them and, after a fault, what is wrong
// with them. What it does takes time, some of it to the end whatever comes.

import { addDigests, digestOfSample, emptyDigest } from "../../../common/sample-digest.ts";
import type { Brings, Effect } from "../../../coordinator/core/state.ts";
import type { SimulatedWorker } from "./worker.ts";
import type { World } from "./world.ts";

type Task = Extract<Effect, { to: string }>;
type Form = Extract<Task, { kind: "form" }>;
export type Plan = Extract<Task, { kind: "plan" }>;

/** What it can be made to answer with. */
export type Lie = "gradients" | "rows";

/** Most that the coordinator has under way for a worker: a generation, two plans, what stands around them, and the end. */
const MOST_TASKS = 10;

export class Tasks {
  readonly #worker: SimulatedWorker;
  readonly #world: World;
  /** Its speed against the others'. */
  readonly #slowness: number;
  /** Steps in its weights, which are all of one step: not while those of another arrive. */
  steps = 0;
  isWhole = false;
  /** What is wrong with the weights, if anything. */
  flaw = "";
  lie: Lie | undefined;
  isFinished = false;
  #generation = 0;
  #members: readonly string[] = [];
  #queue: Task[] = [];
  #isBusy = false;
  /** It does something that it finishes before it looks at a new generation. */
  #isStubborn = false;
  /** Of the generation under way: what was begun before does not go on. */
  #epoch = 0;
  #committed = 0;
  #holding: Plan | undefined;
  /** The reduced gradient that it has and has not applied. */
  #reduced: Brings["reduced"] = null;
  /** Its ring broke: it waits for a new generation. */
  #isLeft = false;
  #isWriting = false;
  #hasEngine = false;

  constructor(worker: SimulatedWorker, world: World) {
    this.#worker = worker;
    this.#world = world;
    this.#slowness = 1 + world.random.next() * 2;
  }

  holding(): Brings {
    const { steps: step, isWhole: whole } = this;
    return { ready: this.#hasEngine, generation: this.#generation, whole, step, reduced: this.#reduced };
  }

  take(task: Task): void {
    switch (task.kind) {
      case "commit":
        return this.#commit(task);
      case "form":
      case "finish":
        // A commit that came before still counts, whatever else was under way does not.
        if (this.#holding !== undefined && this.#committed >= this.#holding.step) this.#apply(this.#holding);
        this.#drop();
        this.#isLeft = false;
        this.isFinished = task.kind === "finish";
        break;
      default:
    }
    // What was planned for a generation that is over for this worker.
    if (this.#isLeft) return;
    this.#queue.push(task);
    this.#world.invariants.hold("every queue is bounded", this.#queue.length <= MOST_TASKS, () => {
      const kinds = this.#queue.map(({ kind }) => kind).join(", ");
      return `${this.#queue.length} tasks wait at ${this.#worker.name}: ${kinds}`;
    });
    this.#work();
  }

  /** The process is gone. With `seen` its neighbours' connections close. */
  end(seen: boolean): void {
    this.#epoch += 1;
    if (seen) this.#world.ring.leave(this.#worker.name, this.#generation);
  }

  /** Nothing but the weights is compared. */
  #digest(): string {
    return this.flaw === "" ? `d${this.steps}` : `d${this.steps} ${this.flaw}`;
  }

  /** Within the generation under way. */
  #meanwhile(ms: number, go: () => void): void {
    const epoch = this.#epoch;
    this.#worker.later(ms, () => {
      if (epoch === this.#epoch) go();
    });
  }

  /** Done to its end, whatever comes. */
  #finish(ms: number, go: () => void): void {
    this.#isStubborn = true;
    this.#worker.later(ms, () => {
      this.#isStubborn = false;
      go();
      this.#next();
    });
  }

  #compute(ms: number): number {
    return ms * this.#slowness * (0.9 + this.#world.random.next() * 0.2);
  }

  #drop(): void {
    this.#epoch += 1;
    this.#queue = [];
    this.#holding = undefined;
    this.#reduced = null;
    this.#isBusy = this.#isStubborn;
  }

  #next(): void {
    this.#isBusy = false;
    this.#work();
  }

  #work(): void {
    if (this.#isBusy) return;
    const task = this.#queue.shift();
    if (task === undefined) return;
    this.#isBusy = true;
    switch (task.kind) {
      case "prepare":
        return this.#finish(this.#compute(60), () => {
          this.#hasEngine = true;
          this.#worker.say({ kind: "prepared", value: { gpuUuid: "" } });
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
        throw new Error(`${this.#worker.name} was sent an unexpected ${task.kind}`);
    }
  }

  #form(task: Form): void {
    const world = this.#world;
    const { name } = this.#worker;
    world.invariants.hold("a commit needs every vote", task.generation > this.#generation, () => {
      return `${name} has formed generation ${this.#generation} and is to form ${task.generation}`;
    });
    world.ring.leave(name, this.#generation);
    this.#generation = task.generation;
    this.#members = task.members.map(({ ringEndpoint }) => ringEndpoint);
    this.#committed = task.step;
    this.#worker.do(`forming generation ${task.generation}`, true);
    const { source } = task;
    const keeps = source.kind === "held" || (source.kind === "peer" && !source.receivers.includes(task.rank));
    if (!keeps) this.isWhole = false;
    this.#meanwhile(this.#hasEngine ? 1 : this.#compute(60), () => {
      this.#hasEngine = true;
      const call = { generation: task.generation, what: "form", members: this.#members };
      const broken = (reason: string): void => this.#meanwhile(0, () => this.#interrupted(reason));
      const done = (): void => {
        if (keeps) return this.#meanwhile(task.measureLinks ? 20 * this.#members.length : 0, () => this.#formed(task));
        // The others go on meanwhile.
        this.#meanwhile(source.kind === "peer" ? this.#compute(world.random.next() * 40) : 0, () =>
          this.#receive(task),
        );
      };
      world.ring.enter(name, call, { done, broken });
    });
  }

  /** The weights of another, which it must not have changed before all of them are here. */
  #receive(task: Form): void {
    const { invariants, ring } = this.#world;
    const { source, generation, step } = task;
    const { name } = this.#worker;
    if (source.kind === "peer") {
      const root = this.#members[source.root]!;
      const way = ring.between(name, root, generation);
      if (way === "cut") return this.#meanwhile(10, () => this.#receive(task));
      if (way === "gone") {
        ring.leave(name, generation);
        return this.#interrupted(`${root} is gone`);
      }
      const given = this.#world.workerNamed(root).tasks;
      invariants.hold("survivors are never restarted", given.isWhole && given.steps === step, () => {
        return `${root} gives ${given.steps} steps to ${name}, which is to have ${step}`;
      });
      [this.steps, this.flaw] = [given.steps, given.flaw];
    } else [this.steps, this.flaw] = [step, ""];
    this.isWhole = true;
    this.#formed(task);
  }

  #formed({ generation, rank, members, measureLinks }: Form): void {
    const { invariants } = this.#world;
    const { name } = this.#worker;
    invariants.hold("no weights differ unseen", this.isWhole, () => `${name} keeps what it half received`);
    this.#reduced = null;
    const others = members.flatMap((_, other) => (other === rank || !measureLinks ? [] : [other]));
    const links = others.map((other) => ({ rank: other, bytesPerSecond: 1e9, latencySeconds: 1e-4 }));
    const value = { generation, step: this.steps, digest: this.#digest(), engine: "simulated", engineWhy: [] };
    this.#worker.say({ kind: "formed", value: { ...value, parameters: 1, notices: [], gpuUuid: "", links } });
    this.#worker.do("waiting for a plan");
    this.#next();
  }

  #plan(task: Plan): void {
    const { name } = this.#worker;
    this.#worker.do(`computing step ${task.step}`);
    this.#meanwhile(this.#compute(5 + 5 * task.shard.rows), () => {
      this.#worker.do(`reducing step ${task.step}`, true);
      this.#reduced = null;
      this.#world.witness.computed(task);
      const call = { generation: task.generation, what: `step ${task.step}`, members: this.#members };
      this.#world.ring.enter(name, call, {
        done: () => this.#meanwhile(0, () => this.#hasReduced(task)),
        broken: (reason) => this.#meanwhile(0, () => this.#interrupted(reason)),
      });
    });
  }

  #hasReduced(task: Plan): void {
    const { step, generation } = task;
    const { start, rows } = task.shard;
    this.#holding = task;
    const digest = this.lie === "gradients" ? `nonsense of ${this.#worker.name}` : `g${step}`;
    this.#reduced = { generation, step, digest };
    const times = {
      dataSeconds: 0,
      computeSeconds: 0.01 * rows * this.#slowness,
      allReduceSeconds: 0.01,
      collectiveSeconds: 0.01,
      microbatches: [],
      buckets: [],
    };
    const bytes = { bytesSent: 8, bytesBetweenHosts: 8 };
    const value = { generation, step, digest, times, ...bytes, notFiniteRows: [], notFiniteTensors: [] };
    const sums = { lossSum: lossOf(start, rows), tokens: rows, gradientNorm: 1 };
    const sampleDigest = digestOfRange(start, start + rows);
    const claimed = this.lie === "rows" ? rows + 1 : rows;
    if (this.lie !== undefined) this.#world.lied(this.#worker);
    this.lie = undefined;
    this.#worker.say({ kind: "reduced", value: { ...value, ...sums, rows: claimed, sampleDigest } });
    this.#worker.do(`waiting for the commit of step ${step}`);
    // A commit may have come while the coordinator was away and the vote on its way.
    if (this.#committed >= step) this.#commit({ kind: "commit", to: "", generation, step });
  }

  #commit({ generation, step }: Extract<Task, { kind: "commit" }>): void {
    const { invariants } = this.#world;
    const plan = this.#holding;
    // Told again, because the coordinator did not know that it had been told.
    if (this.steps >= step) return;
    invariants.hold("a commit needs every vote", plan?.step === step && plan.generation === generation, () => {
      return `step ${step} of generation ${generation} is committed, and ${this.#worker.name} has not reduced it`;
    });
    this.#committed = step;
    this.#worker.later(2, () => {
      if (this.#holding !== plan || plan === undefined) return;
      this.#apply(plan);
      this.#next();
    });
  }

  #apply(plan: Plan): void {
    this.#holding = undefined;
    this.#reduced = null;
    this.#world.invariants.hold("exactly once", this.steps === plan.step - plan.learningRates.length, () => {
      return `${this.#worker.name} applies step ${plan.step} to weights with ${this.steps} steps`;
    });
    this.steps = plan.step;
    this.#world.witness.applied(plan.step);
    const digest = plan.verify ? this.#digest() : "";
    const value = { generation: plan.generation, step: plan.step, seconds: 0, digest, notices: [] };
    this.#worker.say({ kind: "applied", value });
  }

  #evaluate(task: Extract<Task, { kind: "evaluate" }>): void {
    const world = this.#world;
    world.invariants.hold("exactly once", this.steps === task.step, () => {
      return `${this.#worker.name} validates step ${task.step} with ${this.steps} steps in its weights`;
    });
    this.#worker.do(`validating step ${task.step}`);
    this.#finish(this.#compute(2 + task.shard.rows), () => {
      const lossSum = task.shard.rows * world.validationLoss(task.step);
      const sums = { lossSum, tokens: task.shard.rows, notFiniteRows: [], counts: null };
      this.#worker.say({ kind: "evaluated", value: { generation: task.generation, step: task.step, ...sums } });
    });
  }

  /** Copies its part; it is written beside everything else, one at a time. */
  #save(task: Extract<Task, { kind: "save" }>): void {
    const { invariants, disk, random } = this.#world;
    const { name } = this.#worker;
    if (this.#isWriting) return this.#meanwhile(3, () => this.#save(task));
    invariants.hold("a checkpoint counts when it is whole", this.steps === task.step, () => {
      return `${name} copies the weights of step ${task.step} with ${this.steps} steps in them`;
    });
    const { step, attempt, part } = task;
    const file = { name: `part ${part}`, sizeBytes: this.steps, sha256: this.flaw };
    this.#isWriting = true;
    this.#worker.later(this.#compute(5 + random.integer(60)), () => {
      this.#isWriting = false;
      if (disk.isFull()) {
        const value = { step, attempt, reason: "the disk is full", neededBytes: 1 };
        return this.#worker.say({ kind: "notSaved", value });
      }
      const value = { step, attempt, files: [file], factsJson: part === 0 ? "{}" : "", times: null };
      this.#worker.say({ kind: "saved", value });
    });
    this.#next();
  }

  /** Who drains writes what it has copied, and says so, before it goes. */
  #leave(task: Extract<Task, { kind: "finish" }>): void {
    if (task.drained && this.#isWriting) return this.#worker.later(3, () => this.#leave(task));
    this.#worker.die("it ended its session");
  }

  #interrupted(reason: string): void {
    this.#drop();
    this.#isLeft = true;
    this.#worker.do("waiting for a new generation", true);
    const value = { generation: this.#generation, step: this.steps + 1, reason };
    this.#worker.say({ kind: "interrupted", value });
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
