// Workers and a network that exist only in memory, to drive the real core with: every worker works through its messages
// in order as worker/train/session.ts does, the ring completes when all members of a generation are in it, and a seeded
// generator picks what happens next. Invariants are checked after every event.

import { addDigests, digestOfSample, emptyDigest } from "../../common/sample-digest.ts";
import { createRandom, type Random } from "../../common/random.ts";
import { initialState, step } from "../../coordinator/core/coordinator.ts";
import { batchOf, totalSteps, type Job } from "../../coordinator/core/job.ts";
import type { Effect, Event, Outcome, State } from "../../coordinator/core/state.ts";
import type { FromWorker } from "../../proto/messages.ts";

type Task = Extract<Effect, { to: string }>;
type Form = Extract<Task, { kind: "form" }>;

/** What can be done to a cluster. */
export const faultNames = [
  "death",
  "death-seen-late",
  "join",
  "drain",
  "leave",
  "scale",
  "corruption",
  "silence",
  "disk",
] as const;
export type Fault = (typeof faultNames)[number];

interface SimulatedWorker {
  readonly id: string;
  readonly inbox: Task[];
  /** Sent and not yet delivered, in order. */
  readonly outbox: FromWorker[];
  alive: boolean;
  /** Cut off: nothing it says arrives, nothing it is told. */
  silent: boolean;
  /** A bit has flipped in its weights. */
  corrupt: boolean;
  /** The generation it has formed last. */
  formed: number;
  /** The plan whose gradients it holds and whose commit it waits for. */
  holding: Extract<Task, { kind: "plan" }> | null;
  committed: number;
  /** Parts of checkpoints that it has copied and not yet written, with the weights as they were. */
  readonly writing: { readonly task: Extract<Task, { kind: "save" }>; readonly weights: string }[];
  /** The steps in its weights, as the list of sample ranges that were applied. */
  applied: string[];
}

export interface Schedule {
  readonly seed: number;
  readonly job: Job;
  /** Probability that an event is a worker's death. */
  readonly deathRate: number;
  /** Probability that an event is one of these. */
  readonly faults?: { readonly rate: number; readonly kinds: readonly Fault[] };
  /** Ask the run to stop after so many events. */
  readonly stopAfter?: number;
}

export interface Result {
  readonly outcome: Outcome;
  readonly events: number;
  readonly deaths: number;
  /** How often each fault really happened. */
  readonly fired: Readonly<Record<Fault, number>>;
  readonly generations: number;
  readonly validations: number[];
  readonly steps: number[];
  readonly published: number[];
  /** The step that `best` points to at the end. */
  readonly best: number | undefined;
  readonly states: Set<string>;
  /** Members whose weights are not those of the others at the end. */
  readonly corrupt: string[];
  /** Sentences of the core. */
  readonly reasons: string[];
}

/** What a simulated validation finds: a coarse number, so that equals occur. */
export function validationLoss(seed: number, step: number): number {
  const key = `${seed} ${step}`;
  const known = losses.get(key) ?? 1 + createRandom(seed, `loss ${step}`).integer(6);
  losses.set(key, known);
  return known;
}

const losses = new Map<string, number>();

/** Runs one schedule to its end. Throws with the seed in the message when an invariant breaks. */
export function simulate(schedule: Schedule): Result {
  const cluster = new Cluster(schedule);
  try {
    return cluster.run();
  } catch (error) {
    throw new Error(`seed ${schedule.seed}: ${(error as Error).message}`, { cause: error });
  }
}

class Cluster {
  readonly job: Job;
  readonly random: Random;
  readonly schedule: Schedule;
  readonly workers: SimulatedWorker[];
  readonly planned = new Map<string, number>();
  readonly steps: number[] = [];
  readonly validations: number[] = [];
  readonly published: number[] = [];
  readonly states = new Set<string>();
  /** What the run directory has been asked to publish. */
  readonly publishing: Extract<Effect, { kind: "publish" }>[] = [];
  /** Writes that will fail. */
  diskFailures = 0;
  best: number | undefined;
  outcome: Outcome | undefined;
  state: State;
  nowMs = 0;
  events = 0;
  deaths = 0;
  readonly reasons: string[] = [];
  readonly fired = Object.fromEntries(faultNames.map((name) => [name, 0])) as Record<Fault, number>;
  /** News of deaths that the coordinator has not heard yet. */
  readonly notices: string[] = [];

  constructor(schedule: Schedule) {
    this.schedule = schedule;
    this.job = schedule.job;
    this.random = createRandom(schedule.seed, "simulation");
    this.state = initialState(this.job, 0);
    this.workers = [];
  }

  private join(): void {
    const id = `w${this.workers.length}`;
    this.workers.push({
      ...{ id, inbox: [], outbox: [], alive: true, silent: false, corrupt: false, formed: 0 },
      ...{ holding: null, committed: 0, writing: [], applied: [] },
    });
    this.post({ kind: "joined", worker: { id, host: "h", pid: 1, ringEndpoint: `sim://${id}` } });
  }

  run(): Result {
    for (let i = 0; i < this.job.workers; i++) this.join();
    const { rate, kinds } = this.schedule.faults ?? { rate: 0, kinds: [] };
    while (this.outcome === undefined) {
      this.events += 1;
      check(this.events < 100_000, "the run does not end");
      if (this.events === this.schedule.stopAfter) this.post({ kind: "stop", reason: "asked to stop" });
      else if (this.random.next() < this.schedule.deathRate) this.kill();
      else if (kinds.length > 0 && this.random.next() < rate) {
        const kind = kinds[this.random.integer(kinds.length)]!;
        if (this.inflict(kind) && kind !== "disk") this.fired[kind] += 1;
      } else this.advance();
    }
    return {
      outcome: this.outcome,
      events: this.events,
      deaths: this.deaths,
      fired: this.fired,
      generations: this.state.generation,
      validations: this.validations,
      steps: this.steps,
      published: this.published,
      best: this.best,
      states: this.states,
      corrupt: this.state.members
        .map(({ id }) => this.worker(id))
        .filter(({ corrupt, alive }) => corrupt && alive)
        .map(({ id }) => id),
      reasons: this.reasons,
    };
  }

  /** One thing that can happen: a message arrives at the coordinator, or a worker gets on with its work. */
  private advance(): void {
    const choices: (() => void)[] = [];
    for (const id of this.notices) {
      choices.push(() => {
        this.notices.splice(this.notices.indexOf(id), 1);
        this.post({ kind: "left", id, reason: "its connection closed" });
      });
    }
    for (const worker of this.workers.filter(({ alive }) => alive)) {
      const message = worker.outbox[0];
      if (message !== undefined && !worker.silent) {
        choices.push(() => {
          worker.outbox.shift();
          this.post({ kind: "said", id: worker.id, message });
        });
      }
      const action = worker.silent ? undefined : this.actionOf(worker);
      if (action !== undefined) choices.push(action);
      if (worker.writing.length > 0 && !worker.silent) choices.push(() => this.write(worker));
    }
    if (this.publishing.length > 0) choices.push(() => this.publish());
    const choice = choices[this.random.integer(choices.length)];
    if (choice !== undefined) return choice();
    // Nobody has anything to say or to do: time passes until somebody is missed.
    if (this.workers.some(({ silent }) => silent) || this.state.unsaved !== null) return this.wait();
    check(this.state.phase !== "ended", "ended without an outcome");
    throw new Error(`nothing can happen any more in phase ${this.state.phase}, step ${this.state.committed}`);
  }

  private actionOf(worker: SimulatedWorker): (() => void) | undefined {
    const { holding } = worker;
    if (holding !== null) {
      if (worker.committed >= holding.step) return () => this.apply(worker, holding);
      return undefined;
    }
    const task = worker.inbox[0];
    if (task === undefined) return undefined;
    switch (task.kind) {
      case "prepare":
        return () => {
          worker.inbox.shift();
          worker.outbox.push({ kind: "prepared", value: {} });
        };
      case "form":
        if (task.source.kind === "peer" && !this.everyoneForms(task)) return undefined;
        return () => {
          worker.inbox.shift();
          worker.formed = task.generation;
          this.takeWeights(worker, task);
          const value = { generation: task.generation, step: worker.applied.length, digest: digestOf(worker) };
          worker.outbox.push({
            kind: "formed",
            value: { ...value, engine: "simulated", engineWhy: [], gpuUuid: "", parameters: 1, notices: [] },
          });
        };
      case "plan": {
        if (!this.ringIsComplete(task)) return undefined;
        return () => {
          worker.inbox.shift();
          worker.holding = task;
          this.reduce(worker, task);
        };
      }
      case "evaluate":
        return () => {
          worker.inbox.shift();
          check(worker.applied.length === task.step, `validates step ${task.step} with ${worker.applied.length} steps`);
          const lossSum = task.shard.rows * validationLoss(this.schedule.seed, task.step);
          const sums = { generation: task.generation, step: task.step, lossSum, tokens: task.shard.rows };
          const value = { ...sums, notFiniteRows: [], counts: null };
          worker.outbox.push({ kind: "evaluated", value });
        };
      case "save":
        if (worker.writing.length > 0) return undefined;
        return () => {
          worker.inbox.shift();
          check(worker.applied.length === task.step, `saves step ${task.step} with ${worker.applied.length} steps`);
          worker.writing.push({ task, weights: digestOf(worker) });
        };
      case "finish":
        // Who drains writes what it has copied, and says so, before it goes.
        if (task.drained && worker.writing.length + worker.outbox.length > 0) return undefined;
        return () => {
          worker.inbox.shift();
          if (!task.drained) return;
          worker.alive = false;
          this.notices.push(worker.id);
        };
      case "commit":
      case "welcome":
      case "dismiss":
        return () => void worker.inbox.shift();
    }
  }

  /** A newcomer gets what the root has; whoever keeps its own is not touched. */
  private takeWeights(worker: SimulatedWorker, { source, step: steps, members }: Form): void {
    if (source.kind === "held" || (source.kind === "peer" && source.keeps)) return;
    worker.corrupt = false;
    if (source.kind !== "peer") {
      worker.applied = appliedUntil(this.job, steps);
      return;
    }
    const root = this.worker(members[source.root]!.id);
    check(root.applied.length === steps, `rank ${source.root} gives ${root.applied.length} steps, not ${steps}`);
    worker.applied = [...root.applied];
    worker.corrupt = root.corrupt;
  }

  /** The broadcast needs every member of the generation, and each of them only once. */
  private everyoneForms({ generation, members }: Form): boolean {
    return members.every(({ id }) => {
      const { inbox, formed, alive } = this.worker(id);
      const next = inbox[0];
      return alive && (formed === generation || (next?.kind === "form" && next.generation === generation));
    });
  }

  private worker(id: string): SimulatedWorker {
    return this.workers.find((worker) => worker.id === id)!;
  }

  /** The ring needs every member in the same step of the same generation; those that hold the result are through. */
  private ringIsComplete(task: Extract<Task, { kind: "plan" }>): boolean {
    return this.state.members.every(({ id }) => {
      const worker = this.workers.find((other) => other.id === id);
      const at = worker?.holding ?? worker?.inbox[0];
      const past = (worker?.applied.length ?? 0) >= task.step;
      return past || (at?.kind === "plan" && at.step === task.step && at.generation === task.generation);
    });
  }

  private reduce(worker: SimulatedWorker, task: Extract<Task, { kind: "plan" }>): void {
    const times = { dataSeconds: 0, computeSeconds: 0.1, allReduceSeconds: 0.01 };
    const vote = { lossSum: task.shard.rows, tokens: task.shard.rows, gradientNorm: 1, digest: `g${task.step}` };
    const { start, rows } = task.shard;
    const sampleDigest = digestOfRange(start, start + rows);
    const value = {
      rows,
      sampleDigest,
      generation: task.generation,
      step: task.step,
      ...vote,
      times,
      bytesSent: 8,
      notFiniteRows: [],
    };
    worker.outbox.push({ kind: "reduced", value });
  }

  private apply(worker: SimulatedWorker, plan: Extract<Task, { kind: "plan" }>): void {
    worker.holding = null;
    check(worker.applied.length === plan.step - 1, `applies step ${plan.step} on ${worker.applied.length} steps`);
    worker.applied.push(rangeName(plan.batch));
    const digest = plan.verify ? digestOf(worker) : "";
    worker.outbox.push({
      kind: "applied",
      value: { generation: plan.generation, step: plan.step, seconds: 0, digest },
    });
  }

  /** The thread of a worker has come to the end of its part. */
  private write(worker: SimulatedWorker): void {
    const { task, weights } = worker.writing.shift()!;
    const { step, attempt, part } = task;
    if (this.diskFails()) {
      const value = { step, attempt, reason: "the disk is full", neededBytes: 1 };
      worker.outbox.push({ kind: "notSaved", value });
      return;
    }
    const file = { name: `part ${part}`, sizeBytes: 1, sha256: weights };
    const facts = { factsJson: part === 0 ? "{}" : "", times: null };
    worker.outbox.push({ kind: "saved", value: { step, attempt, files: [file], ...facts } });
  }

  /** The run directory answers. A checkpoint has each part once, all of the weights of its step. */
  private publish(): void {
    const { step, attempt, files, facts, best } = this.publishing.shift()!;
    if (this.diskFails()) {
      return this.post({ kind: "unpublished", attempt, reason: "the disk is full", neededBytes: 1 });
    }
    check(facts === "{}", `the checkpoint of step ${step} has no facts`);
    const weights = appliedUntil(this.job, step).join();
    files.forEach(({ name, sha256 }, part) => {
      check(name === `part ${part}`, `part ${part} of the checkpoint of step ${step} is ${name}`);
      check(sha256.startsWith(weights) && !sha256.slice(weights.length).startsWith(","), `it has weights ${sha256}`);
    });
    check(step > (this.published.at(-1) ?? 0), `latest goes from ${this.published.at(-1)} to ${step}`);
    this.published.push(step);
    if (best !== null) {
      check(this.published.includes(best), `the best step ${best} has no checkpoint`);
      this.best = best;
    }
    this.post({ kind: "published", attempt });
  }

  private diskFails(): boolean {
    if (this.diskFailures === 0) return false;
    this.diskFailures -= 1;
    this.fired.disk += 1;
    return true;
  }

  private kill(): void {
    const alive = this.workers.filter((worker) => worker.alive);
    const victim = alive[this.random.integer(alive.length)];
    if (victim === undefined || alive.length === 1) return this.advance();
    victim.alive = false;
    this.deaths += 1;
    this.post({ kind: "left", id: victim.id, reason: "its connection closed" });
  }

  /** True if it could happen now. */
  private inflict(fault: Fault): boolean {
    const { state } = this;
    const alive = this.workers.filter((worker) => worker.alive && !worker.silent);
    const victim = alive[this.random.integer(alive.length)];
    if (victim === undefined) return false;
    const isMember = state.members.some(({ id, holds }) => id === victim.id && holds);
    // Those that can be relied on: one that leaves is let go as long as another seems to be there, heard or not.
    const leaves = (id: string): boolean => this.worker(id).outbox.some(({ kind }) => kind === "leaving");
    const holders = state.members.filter(
      ({ id, holds, status }) =>
        holds && status !== "draining" && !leaves(id) && this.worker(id).alive && !this.worker(id).silent,
    );
    switch (fault) {
      case "death":
      case "death-seen-late":
        if (holders.every(({ id }) => id === victim.id) || state.phase === "gathering") return false;
        victim.alive = false;
        this.deaths += 1;
        if (fault === "death") this.post({ kind: "left", id: victim.id, reason: "its connection closed" });
        else this.notices.push(victim.id);
        return true;
      case "silence":
        if (holders.every(({ id }) => id === victim.id) || state.phase === "gathering") return false;
        victim.silent = true;
        return true;
      case "disk":
        this.diskFailures += 1;
        return true;
      case "join":
        if (this.workers.length > 40) return false;
        this.join();
        return true;
      case "drain":
        if (holders.length < 2 || state.phase === "gathering") return false;
        this.post({ kind: "drain", id: victim.id, reason: "asked to drain" });
        return true;
      case "leave":
        if (holders.length < 2 || !isMember || state.phase === "gathering") return false;
        victim.outbox.push({ kind: "leaving", value: { reason: "stopped by SIGTERM" } });
        return true;
      case "scale": {
        // Scaling drains the newest; the core can't know yet that one that stays is silent.
        if (this.workers.some(({ alive, silent }) => alive && silent)) return false;
        this.post({ kind: "scale", workers: 1 + this.random.integer(this.job.globalBatch) });
        return true;
      }
      case "corruption": {
        if (!state.established) return false;
        // One at a time among three that are well: the others outvote it at the next comparison.
        const well = state.members.filter(({ id, holds }) => holds && !this.worker(id).corrupt).length;
        const isOne = this.workers.every(({ corrupt, alive }) => !corrupt || !alive);
        if (!isOne || well < 3 || victim.applied.length >= totalSteps(this.job) || !isMember) return false;
        if (this.job.verifyEvery !== 1 || victim.holding !== null) return false;
        victim.corrupt = true;
        return true;
      }
    }
  }

  /** Time passes until the core wants to look at those that say nothing. */
  private wait(): void {
    this.nowMs = Math.max(this.nowMs, this.state.tickMs);
    for (const worker of this.workers) {
      if (worker.alive && !worker.silent) this.beat(worker);
    }
    this.post({ kind: "tick" });
  }

  private beat({ id }: SimulatedWorker): void {
    this.post({
      kind: "said",
      id,
      message: { kind: "heartbeat", value: { doing: "", inCollective: false, count: 1 } },
    });
  }

  private post(event: Event): void {
    this.nowMs += 1;
    const before = this.state;
    const { state, effects, reason } = step(this.job, this.state, event, this.nowMs);
    if (reason !== "") this.reasons.push(reason);
    this.state = state;
    check(state.committed >= before.committed, `committed goes back from ${before.committed} to ${state.committed}`);
    check(state.generation >= before.generation, "the generation goes back");
    this.checkLedger(before.committed);
    const who = state.members.map(({ status, holds }) => status[0]! + (holds ? "" : "-")).join("");
    this.states.add([state.phase, who, state.joining.length, state.committed, state.planned, state.saved].join());
    effects.forEach((effect) => this.perform(effect));
    this.checkPlans(effects);
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case "record":
        if (effect.record.kind === "step") this.steps.push(effect.record.step);
        else this.validations.push(effect.record.step);
        return;
      case "publish":
        check(effect.step <= this.state.committed, `publishes step ${effect.step} before it is committed`);
        this.publishing.push(effect);
        return;
      case "discard":
        check(
          this.publishing.every(({ attempt }) => attempt !== effect.attempt),
          `attempt ${effect.attempt} is removed while it is published`,
        );
        return;
      case "ended":
        this.outcome = effect.outcome;
        return;
      case "launch":
        for (let i = 0; i < effect.count; i++) this.join();
        return;
      case "refuse":
        return;
      case "dismiss":
        this.worker(effect.to).alive = false;
        return;
      default: {
        const worker = this.workers.find(({ id }) => id === effect.to);
        if (worker?.alive !== true || worker.silent) return;
        if (effect.kind === "commit") {
          const { holding } = worker;
          const holds = holding?.step === effect.step && holding.generation === effect.generation;
          check(holds, `step ${effect.step} is committed, but ${worker.id} has not reduced it in this generation`);
          worker.committed = effect.step;
        } else if (effect.kind === "form") {
          // As in the worker: a commit that came before still counts, whatever else was under way does not.
          if (worker.holding !== null && worker.committed >= worker.holding.step) this.apply(worker, worker.holding);
          worker.holding = null;
          worker.inbox.splice(0, Infinity, effect);
        } else worker.inbox.push(effect);
      }
    }
  }

  /** Nothing is lost or counted twice, and what was committed is what a run without faults has committed by then. */
  private checkLedger(before: number): void {
    const { counts, leases } = this.state.ledger;
    const outstanding = leases.reduce((sum, { rows }) => sum + rows, 0);
    const { leased, committed, requeued, duplicated, lost, digest } = counts;
    check(
      leased === committed + requeued + outstanding,
      `${leased} leased, but ${committed + requeued + outstanding} known`,
    );
    check(duplicated === 0 && lost === 0, `${duplicated} samples are duplicated, ${lost} lost`);
    if (this.state.committed === before) return;
    const position = Math.min(this.state.committed * this.job.globalBatch, this.job.totalSamples);
    check(committed === position, `${committed} samples are committed, not ${position}`);
    check(digest === digestOfRange(0, position), `the samples of ${this.state.committed} steps have digest ${digest}`);
  }

  /** Exactly once: the shards of a planned step partition the step's batch, at any worker count. */
  private checkPlans(effects: readonly Effect[]): void {
    const plans = effects.filter((effect) => effect.kind === "plan");
    for (const number of new Set(plans.map((plan) => plan.step))) {
      const shards = plans.filter((plan) => plan.step === number).map((plan) => plan.shard);
      const batch = batchOf(this.job, number);
      let next = batch.start;
      for (const shard of shards) {
        check(shard.start === next, `step ${number}: a shard starts at ${shard.start}, not ${next}`);
        next += shard.rows;
      }
      check(
        next === batch.start + batch.rows,
        `step ${number}: shards end at ${next}, not ${batch.start + batch.rows}`,
      );
    }
    check(this.state.committed <= totalSteps(this.job), "more steps are committed than the job has");
  }
}

/** Of positions of the stream, as their contents. */
function digestOfRange(from: number, to: number): string {
  let digest = emptyDigest;
  for (let position = from; position < to; position++) digest = addDigests(digest, digestOfSample([position]));
  return digest;
}

function digestOf({ applied, corrupt, id }: SimulatedWorker): string {
  return applied.join() + (corrupt ? ` flipped in ${id}` : "");
}

function appliedUntil(job: Job, steps: number): string[] {
  return Array.from({ length: steps }, (_, i) => rangeName(batchOf(job, i + 1)));
}

function rangeName({ start, rows }: { start: number; rows: number }): string {
  return `${start}+${rows}`;
}

function check(condition: boolean, sentence: string): void {
  if (!condition) throw new Error(sentence);
}
