// Workers and a network that exist only in memory, to drive the real core with: every worker works through its messages
// in order as worker/train/session.ts does, the ring completes when all members of a generation are in it, and a seeded
// generator picks what happens next. Invariants are checked after every event.

import { createRandom, type Random } from "../../common/random.ts";
import { initialState, step } from "../../coordinator/core/coordinator.ts";
import { batchOf, totalSteps, type Job } from "../../coordinator/core/job.ts";
import type { Effect, Event, Outcome, State } from "../../coordinator/core/state.ts";
import type { FromWorker } from "../../proto/messages.ts";

type Task = Extract<Effect, { to: string }>;

interface SimulatedWorker {
  readonly id: string;
  readonly inbox: Task[];
  /** Sent and not yet delivered, in order. */
  readonly outbox: FromWorker[];
  alive: boolean;
  /** The plan whose gradients it holds and whose commit it waits for. */
  holding: Extract<Task, { kind: "plan" }> | null;
  committed: number;
  /** The steps in its weights, as the list of sample ranges that were applied. */
  applied: string[];
}

export interface Schedule {
  readonly seed: number;
  readonly job: Job;
  /** Probability that an event is a worker's death. */
  readonly deathRate: number;
  /** Ask the run to stop after so many events. */
  readonly stopAfter?: number;
}

export interface Result {
  readonly outcome: Outcome;
  readonly events: number;
  readonly deaths: number;
  readonly generations: number;
  readonly validations: number[];
  readonly steps: number[];
  readonly published: number[];
  /** The step that `best` points to at the end. */
  readonly best: number | undefined;
  readonly states: Set<string>;
}

/** What a simulated validation finds: a coarse number, so that equals occur. */
export function validationLoss(seed: number, step: number): number {
  return 1 + createRandom(seed, `loss ${step}`).integer(6);
}

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
  best: number | undefined;
  outcome: Outcome | undefined;
  state: State;
  nowMs = 0;
  events = 0;
  deaths = 0;

  constructor(schedule: Schedule) {
    this.schedule = schedule;
    this.job = schedule.job;
    this.random = createRandom(schedule.seed, "simulation");
    this.state = initialState(this.job, 0);
    this.workers = Array.from({ length: this.job.workers }, (_, i) => ({
      id: `w${i}`,
      inbox: [],
      outbox: [],
      alive: true,
      holding: null,
      committed: 0,
      applied: [],
    }));
  }

  run(): Result {
    for (const { id } of this.workers) {
      this.post({ kind: "joined", worker: { id, host: "h", pid: 1, ringEndpoint: `sim://${id}` } });
    }
    while (this.outcome === undefined) {
      this.events += 1;
      check(this.events < 100_000, "the run does not end");
      if (this.events === this.schedule.stopAfter) this.post({ kind: "stop", reason: "asked to stop" });
      else if (this.random.next() < this.schedule.deathRate) this.kill();
      else this.advance();
    }
    return {
      outcome: this.outcome,
      events: this.events,
      deaths: this.deaths,
      generations: this.state.generation,
      validations: this.validations,
      steps: this.steps,
      published: this.published,
      best: this.best,
      states: this.states,
    };
  }

  /** One thing that can happen: a message arrives at the coordinator, or a worker gets on with its work. */
  private advance(): void {
    const choices: (() => void)[] = [];
    for (const worker of this.workers.filter(({ alive }) => alive)) {
      const message = worker.outbox[0];
      if (message !== undefined) {
        choices.push(() => {
          worker.outbox.shift();
          this.post({ kind: "said", id: worker.id, message });
        });
      }
      const action = this.actionOf(worker);
      if (action !== undefined) choices.push(action);
    }
    const choice = choices[this.random.integer(choices.length)];
    if (choice !== undefined) return choice();
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
      case "form":
        return () => {
          worker.inbox.shift();
          if (task.source.kind !== "held") worker.applied = appliedUntil(this.job, task.step);
          const value = { generation: task.generation, step: worker.applied.length, digest: worker.applied.join() };
          worker.outbox.push({
            kind: "formed",
            value: { ...value, engine: "simulated", engineWhy: [], parameters: 1, notices: [] },
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
        return () => {
          worker.inbox.shift();
          check(worker.applied.length === task.step, `saves step ${task.step} with ${worker.applied.length} steps`);
          worker.outbox.push({ kind: "saved", value: { step: task.step, sizeBytes: 1 } });
        };
      case "commit":
      case "welcome":
      case "dismiss":
      case "finish":
        return () => void worker.inbox.shift();
    }
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
    const value = { generation: task.generation, step: task.step, ...vote, times, bytesSent: 8, notFiniteRows: [] };
    worker.outbox.push({ kind: "reduced", value });
  }

  private apply(worker: SimulatedWorker, plan: Extract<Task, { kind: "plan" }>): void {
    worker.holding = null;
    check(worker.applied.length === plan.step - 1, `applies step ${plan.step} on ${worker.applied.length} steps`);
    worker.applied.push(rangeName(plan.batch));
    worker.outbox.push({ kind: "applied", value: { generation: plan.generation, step: plan.step, seconds: 0 } });
  }

  private kill(): void {
    const alive = this.workers.filter((worker) => worker.alive);
    const victim = alive[this.random.integer(alive.length)];
    if (victim === undefined || alive.length === 1) return this.advance();
    victim.alive = false;
    this.deaths += 1;
    this.post({ kind: "left", id: victim.id, reason: "its connection closed" });
  }

  private post(event: Event): void {
    this.nowMs += 1;
    const before = this.state;
    const { state, effects } = step(this.job, this.state, event, this.nowMs);
    this.state = state;
    check(state.committed >= before.committed, `committed goes back from ${before.committed} to ${state.committed}`);
    check(state.generation >= before.generation, "the generation goes back");
    this.states.add([state.phase, state.members.length, state.committed, state.planned, state.saved].join());
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
        this.published.push(effect.step);
        if (effect.best !== null) {
          check(this.published.includes(effect.best), `the best step ${effect.best} has no checkpoint`);
          this.best = effect.best;
        }
        return;
      case "ended":
        this.outcome = effect.outcome;
        return;
      default: {
        const worker = this.workers.find(({ id }) => id === effect.to);
        if (worker?.alive !== true) return;
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

function appliedUntil(job: Job, steps: number): string[] {
  return Array.from({ length: steps }, (_, i) => rangeName(batchOf(job, i + 1)));
}

function rangeName({ start, rows }: { start: number; rows: number }): string {
  return `${start}+${rows}`;
}

function check(condition: boolean, sentence: string): void {
  if (!condition) throw new Error(sentence);
}
