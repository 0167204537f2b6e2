// Looks at the core after every event and at everything that it lets out, and compares both with what really happened in
// the cluster. It knows the invariants of ARCHITECTURE.md and nothing of how the core keeps them.

import type { StepRecord, ValidationRecord } from "../../../common/records.ts";
import { batchOf, totalSteps } from "../../../coordinator/core/job.ts";
import type { Effect, Event, State } from "../../../coordinator/core/state.ts";
import type { SimulatedCoordinator } from "./coordinator.ts";
import type { Call } from "./ring.ts";
import { digestOfRange, lossOf, type Plan } from "./worker.ts";
import type { World } from "./world.ts";

type Stored = Extract<Effect, { kind: "record" | "publish" }>;

export interface Witness {
  readonly steps: number[];
  readonly validations: number[];
  readonly published: number[];
  readonly reasons: string[];
  readonly states: Set<string>;
  best: number | undefined;
  before(): void;
  after(event: Event, effects: readonly Effect[], reason: string): void;
  stored(effect: Stored): void;
  /** A worker's gradients go into the ring. */
  computed(plan: Plan): void;
  /** All members of a generation are through a collective. */
  reduced(call: Call): void;
}

/** Messages, leases and sentences that may wait, for each worker. */
const MOST_LOSSES = 64;

export function createWitness(world: World, coordinator: SimulatedCoordinator): Witness {
  const { job, invariants } = world;
  const [steps, validations, published, reasons]: [number[], number[], number[], string[]] = [[], [], [], []];
  const states = new Set<string>();
  /** Who was there, and what was so, before the event. */
  let committed = job.start.step;
  let generation = 0;
  let holders: readonly string[] = [];
  /** Shards in the ring, by generation and step; those that all have reduced. */
  const shards = new Map<string, Plan["shard"][]>();
  const isReduced = new Set<string>();
  /** Members of each generation. */
  const generations = new Map<number, string>();
  const idsOf = (state: State): string[] => [...state.members, ...state.joining].map(({ id }) => id);

  function exactlyOnce(state: State): void {
    const { counts, leases } = state.ledger;
    const { leased, committed: settled, requeued, duplicated, lost, digest } = counts;
    const outstanding = leases.reduce((sum, { rows }) => sum + rows, 0);
    invariants.hold("exactly once", leased === settled + requeued + outstanding, () => {
      return `${leased} samples are leased, ${settled} committed, ${requeued} re-queued, ${outstanding} outstanding`;
    });
    invariants.hold("exactly once", duplicated === 0 && lost === 0, () => `${duplicated} duplicated, ${lost} lost`);
    if (state.committed === committed) return;
    const [from, to] = [job.start.step, state.committed].map((step) =>
      Math.min(step * job.globalBatch, job.totalSamples),
    );
    invariants.hold("exactly once", settled === to! - from!, () => `${settled} committed, not ${to! - from!}`);
    invariants.hold("exactly once", digest === digestOfRange(from!, to!), () => `their digest is ${digest}`);
  }

  function everyVote(state: State): void {
    invariants.hold("committed never goes back", state.committed >= committed && state.generation >= generation, () => {
      return `step ${committed} of generation ${generation}, then step ${state.committed} of ${state.generation}`;
    });
    if (state.committed === committed) return;
    invariants.hold("a commit needs every vote", state.committed === committed + 1, () => {
      return `step ${state.committed} follows step ${committed}`;
    });
    invariants.hold("a commit needs every vote", isReduced.has(`${generation} step ${state.committed}`), () => {
      return `step ${state.committed} is committed, and generation ${generation} has not reduced it`;
    });
  }

  /** Only they go whom something happened to, or who were asked to. */
  function survivors(state: State, effects: readonly Effect[]): void {
    const there = new Set(idsOf(state));
    const gone = holders.filter((id) => !there.has(id));
    const asked = new Set(effects.flatMap((effect) => (effect.kind === "finish" ? [effect.to] : [])));
    for (const id of gone) {
      const worker = coordinator.processes.get(id)!;
      invariants.hold(
        "survivors are never restarted",
        !worker.alive || worker.afflicted.length > 0 || asked.has(id),
        () => {
          return `${id} was let go, and nothing had happened to it`;
        },
      );
    }
  }

  function weights(state: State): void {
    if (state.phase !== "running") return;
    for (const { id, holds } of state.members) {
      const worker = coordinator.processes.get(id)!;
      if (!holds || !worker.alive) continue;
      const isBehind = state.applying?.pending.includes(id) === true && worker.steps === state.committed - 1;
      invariants.hold("no weights differ unseen", worker.steps === state.committed || isBehind, () => {
        return `${id} is said to hold step ${state.committed} and has ${worker.steps}`;
      });
    }
  }

  function bounded(state: State): void {
    const count = idsOf(state).length;
    const { leases } = state.ledger;
    invariants.hold("every queue is bounded", leases.length <= 2 * count && state.losses.length <= MOST_LOSSES, () => {
      return `${leases.length} leases of ${count} workers, ${state.losses.length} sentences about losses`;
    });
    const answers = [state.formed, state.votes, state.applying?.digests ?? {}, state.validating?.sums ?? {}];
    const most = Math.max(...answers.map((each) => Object.keys(each).length));
    invariants.hold("every queue is bounded", count <= job.globalBatch && most <= 2 * job.globalBatch, () => {
      return `${count} workers and ${most} answers, global batch ${job.globalBatch}`;
    });
  }

  /** The shards of a planned step are its batch, at any number of workers. */
  function plans(effects: readonly Effect[]): void {
    const planned = effects.filter((effect) => effect.kind === "plan");
    for (const step of new Set(planned.map((plan) => plan.step))) {
      const batch = batchOf(job, step);
      const mine = planned.filter((plan) => plan.step === step).map(({ shard }) => shard);
      invariants.hold(
        "exactly once",
        isDivided(batch, mine),
        () => `step ${step} is divided into ${JSON.stringify(mine)}`,
      );
    }
  }

  function causes(state: State, event: Event, effects: readonly Effect[], reason: string): void {
    if (state.generation !== generation || effects.some(({ kind }) => kind === "dismiss" || kind === "ended")) {
      invariants.hold("named cause", reason.length > 10, () => `${event.kind} decides without a reason: "${reason}"`);
    }
    for (const effect of effects) {
      if (effect.kind === "dismiss" || effect.kind === "finish") {
        invariants.hold("named cause", effect.reason.length > 5, () => `${effect.to} is let go without a reason`);
      } else if (effect.kind === "form") {
        const names = effect.members.map(({ id }) => id).join();
        const known = generations.get(effect.generation) ?? names;
        generations.set(effect.generation, names);
        invariants.hold("a commit needs every vote", known === names, () => {
          return `generation ${effect.generation} is formed of ${known} and of ${names}`;
        });
      } else if (effect.kind === "ended" && effect.outcome.kind === "failed") {
        const { reason: sentence } = effect.outcome;
        invariants.hold("named cause", /w\d|disk|worker/.test(sentence), () => `the run failed: "${sentence}"`);
      }
    }
  }

  function isRecorded(record: StepRecord | ValidationRecord): void {
    if (record.kind === "validation") {
      invariants.hold(
        "exactly once",
        !validations.includes(record.step),
        () => `validation ${record.step} recorded twice`,
      );
      validations.push(record.step);
      return;
    }
    const last = steps.at(-1) ?? job.start.step;
    invariants.hold("exactly once", record.step === last + 1, () => `step ${record.step} is recorded after ${last}`);
    steps.push(record.step);
    const { start, rows } = batchOf(job, record.step);
    invariants.hold("same maths", Math.abs(record.loss * rows - lossOf(start, rows)) < 1e-6, () => {
      return `step ${record.step} has loss ${record.loss}, not ${lossOf(start, rows) / rows}`;
    });
  }

  return {
    steps,
    validations,
    published,
    reasons,
    states,
    best: undefined,
    before() {
      ({ committed, generation } = coordinator.state);
      const { established, members } = coordinator.state;
      // Newcomers are the first to go when a generation can't be formed.
      holders = members.filter(({ holds }) => holds && established).map(({ id }) => id);
    },
    after(event, effects, reason) {
      const { state } = coordinator;
      if (reason !== "") reasons.push(reason);
      exactlyOnce(state);
      everyVote(state);
      if (state.phase !== "ended") survivors(state, effects);
      weights(state);
      bounded(state);
      plans(effects);
      causes(state, event, effects, reason);
      states.add(fingerprint(state));
    },
    stored(effect) {
      if (effect.kind === "record") return isRecorded(effect.record);
      const { step, best, files } = effect;
      const last = published.at(-1) ?? job.start.step;
      const isWhole =
        files.length > 0 && files.every(({ name, sizeBytes }, i) => name === `part ${i}` && sizeBytes === step);
      const flaw = files.map(({ sha256 }) => sha256).find((each) => each !== "") ?? "";
      invariants.hold("a checkpoint counts when it is whole", step > last && steps.at(-1)! >= step, () => {
        return `the checkpoint of step ${step} is published after ${last}, with ${steps.at(-1)} steps recorded`;
      });
      invariants.hold("a checkpoint counts when it is whole", isWhole, () => {
        return `the checkpoint of step ${step} is ${JSON.stringify(files)}`;
      });
      const isCompared = job.verifyEvery > 0 && step % job.verifyEvery === 0;
      // What has changed after the step was applied shows at the next comparison.
      const isNew = flaw.endsWith(`after step ${step}`);
      invariants.hold(
        "no weights differ unseen",
        flaw === "" || isNew || !isCompared,
        () => `checkpoint ${step} has a ${flaw}`,
      );
      published.push(step);
      if (best === null) return;
      invariants.hold(
        "a checkpoint counts when it is whole",
        published.includes(best),
        () => `best ${best} is not there`,
      );
      this.best = best;
    },
    computed({ generation, step, shard }) {
      const key = `${generation} step ${step}`;
      shards.set(key, [...(shards.get(key) ?? []), shard]);
    },
    reduced({ generation, what, members }) {
      if (what === "form") return;
      const key = `${generation} ${what}`;
      const batch = batchOf(job, Number(what.slice(5)));
      const mine = [...(shards.get(key) ?? [])].sort((a, b) => a.start - b.start || a.rows - b.rows);
      isReduced.add(key);
      invariants.hold("same maths", mine.length === members.length && isDivided(batch, mine), () => {
        return `the members of generation ${generation} have reduced ${JSON.stringify(mine)} as ${what}`;
      });
    },
  };

  function fingerprint(state: State): string {
    const who = state.members.map(({ status, holds }) => status[0]! + (holds ? "" : "-")).join("");
    const answered = Object.keys(state.phase === "forming" ? state.formed : state.votes).length;
    const applying = state.applying?.pending.length ?? "-";
    const isLast = totalSteps(job) - state.committed;
    return [
      ...[
        state.phase,
        who,
        state.joining.length,
        isLast,
        state.planned - state.committed,
        state.committed - state.saved,
      ],
      ...[state.committed - state.validated, answered, applying, state.interrupted !== null, state.stopping !== null],
    ].join();
  }
}

function isDivided(batch: Plan["batch"], shards: readonly Plan["shard"][]): boolean {
  let next = batch.start;
  for (const { start, rows } of shards) {
    if (start !== next) return false;
    next += rows;
  }
  return next === batch.start + batch.rows;
}
