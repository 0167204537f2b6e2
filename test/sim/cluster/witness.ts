// Looks at the core after every event and at everything that it lets out, and compares both with what really happened in
// the cluster. It knows the invariants of ARCHITECTURE.md and nothing of how the core keeps them.

import type { StepRecord, ValidationRecord } from "../../../common/records.ts";
import { batchOf, isDueAt, nextStep, stepBefore, totalSteps } from "../../../coordinator/core/job.ts";
import type { Decision, Effect, Event, State } from "../../../coordinator/core/state.ts";
import type { Call } from "./ring.ts";
import { digestOfRange, lossOf, type Plan } from "./tasks.ts";
import type { World } from "./world.ts";

export interface Witness {
  /** Sentences of the core. */
  readonly reasons: string[];
  readonly states: Set<string>;
  /** A first generation has formed, and that is written down. */
  readonly isUnderWay: boolean;
  /** The coordinator is about to decide, and has decided. */
  before(): void;
  after(event: Event, decision: Decision): void;
  /** A coordinator has started again. */
  recovered(state: State): void;
  /** The run goes on from the checkpoint of this step, or from its beginning, and what came after it is of no account. */
  forsaken(step: number): void;
  /** This has left the coordinator: others know it now. */
  left(effect: Effect): void;
  /** A worker's gradients go into the ring. */
  computed(plan: Plan): void;
  /** All members of a generation are through a collective. */
  reduced(call: Call): void;
  /** The step is in a worker's weights. */
  applied(step: number): void;
  /** It is about to be in the run directory. */
  recorded(record: StepRecord | ValidationRecord): void;
  publishes(checkpoint: Extract<Effect, { kind: "publish" }>): void;
}

/** Messages, leases and sentences that may wait, for each worker. */
const MOST_LOSSES = 64;

export function createWitness(world: World): Witness {
  const { job, invariants } = world;
  const reasons: string[] = [];
  const states = new Set<string>();
  /** What was so before the event, and who held the weights or was waited for. */
  let committed = job.start.step;
  let generation = 0;
  let holders: readonly string[] = [];
  let awaited: readonly string[] = [];
  /** What others than the coordinator have seen of it. */
  let seenStep = job.start.step;
  let seenGeneration = 0;
  let isUnderWay = false;
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
    invariants.hold("a commit needs every vote", state.committed === nextStep(job, committed), () => {
      return `step ${state.committed} follows step ${committed}`;
    });
    invariants.hold("a commit needs every vote", isReduced.has(`${generation} step ${state.committed}`), () => {
      return `step ${state.committed} is committed, and generation ${generation} has not reduced it`;
    });
  }

  /** Only they go whom something happened to, or who were asked to. */
  function survivors(state: State, effects: readonly Effect[]): void {
    const there = new Set(idsOf(state));
    const known = state.recovery === null ? [...holders, ...awaited] : holders;
    const gone = known.filter((id) => !there.has(id));
    if (gone.length === 0) return;
    const asked = new Set(effects.flatMap((effect) => (effect.kind === "finish" ? [effect.to] : [])));
    // Two that do not reach each other: whose fault it is can't be known for sure.
    const cuts = world.workersAfflictedBy("cut between workers", "partition");
    const blamed = new Set(
      effects.flatMap((effect) =>
        effect.kind === "dismiss" && effect.code === "collective_failed" && cuts ? [effect.to] : [],
      ),
    );
    const waits = new Set(state.recovery?.awaited.map(({ id }) => id));
    for (const id of gone) {
      const worker = world.workerNamed(id);
      const isExcused =
        !worker.alive || worker.afflicted.length > 0 || asked.has(id) || waits.has(id) || blamed.has(id);
      invariants.hold("survivors are never restarted", isExcused, () => {
        return `${id} was let go, and nothing had happened to it`;
      });
    }
  }

  function weights(state: State): void {
    if (state.phase !== "running") return;
    for (const { id, holds } of state.members) {
      const { alive, tasks } = world.workerNamed(id);
      if (!holds || !alive) continue;
      const isBehind =
        state.applying?.pending.includes(id) === true && tasks.steps === stepBefore(job, state.committed);
      invariants.hold("no weights differ unseen", tasks.steps === state.committed || isBehind, () => {
        return `${id} is said to hold step ${state.committed} and has ${tasks.steps}`;
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
    const batches = new Map<string, Extract<Effect, { kind: "plan" }>[]>();
    for (const effect of effects) {
      if (effect.kind !== "plan") continue;
      const key = `step ${effect.step} of generation ${effect.generation}`;
      batches.set(key, [...(batches.get(key) ?? []), effect]);
    }
    for (const [key, planned] of batches) {
      const mine = planned.map(({ shard }) => shard);
      invariants.hold("exactly once", isDivided(batchOf(job, planned[0]!.step), mine), () => {
        return `${key} is divided into ${JSON.stringify(mine)}`;
      });
    }
  }

  function causes(state: State, event: Event, { effects, reason }: Decision): void {
    if (state.generation !== generation || effects.some(({ kind }) => kind === "dismiss" || kind === "ended")) {
      invariants.hold("named cause", reason.length > 10, () => `${event.kind} decides without a reason: "${reason}"`);
    }
    for (const effect of effects) {
      if (effect.kind === "dismiss" || effect.kind === "finish") {
        invariants.hold("named cause", effect.reason.length > 5, () => `${effect.to} is let go without a reason`);
      } else if (effect.kind === "ended" && effect.outcome.kind === "failed") {
        const { reason: sentence } = effect.outcome;
        invariants.hold("named cause", /w\d|disk|worker/.test(sentence), () => `the run failed: "${sentence}"`);
      }
    }
  }

  return {
    reasons,
    states,
    get isUnderWay() {
      return isUnderWay;
    },
    before() {
      const { state } = world.coordinator!;
      ({ committed, generation } = state);
      // Newcomers are the first to go when a generation can't be formed.
      holders = state.members.filter(({ holds }) => holds && state.established).map(({ id }) => id);
      awaited = state.recovery?.awaited.map(({ id }) => id) ?? [];
    },
    after(event, decision) {
      const { state, effects, reason } = decision;
      if (reason !== "") reasons.push(reason);
      exactlyOnce(state);
      everyVote(state);
      if (state.phase !== "ended") {
        survivors(state, effects);
        bounded(state);
      }
      weights(state);
      plans(effects);
      causes(state, event, decision);
      states.add(fingerprint(state));
    },
    recovered(state) {
      invariants.hold("a dead coordinator loses nothing", state.committed >= seenStep, () => {
        return `step ${seenStep} was seen, and the coordinator starts again with step ${state.committed}`;
      });
      invariants.hold("a dead coordinator loses nothing", state.generation >= seenGeneration, () => {
        return `generation ${seenGeneration} was seen, and the coordinator starts again with ${state.generation}`;
      });
      const { committed: counted } = state.ledger.counts;
      const expected = Math.min(state.committed * job.globalBatch, job.totalSamples) - job.start.step * job.globalBatch;
      invariants.hold("a dead coordinator loses nothing", counted === Math.max(0, expected), () => {
        return `${counted} samples are committed in what it kept, not ${expected}`;
      });
    },
    forsaken(step) {
      seenStep = step;
      isUnderWay = false;
    },
    left(effect) {
      if (effect.kind === "commit") seenStep = Math.max(seenStep, effect.step);
      isUnderWay ||= ["plan", "evaluate", "save"].includes(effect.kind);
      if (effect.kind !== "form") return;
      seenGeneration = Math.max(seenGeneration, effect.generation);
      const names = effect.members.map(({ id }) => id).join();
      const known = generations.get(effect.generation) ?? names;
      generations.set(effect.generation, names);
      invariants.hold("a commit needs every vote", known === names, () => {
        return `generation ${effect.generation} is formed of ${known} and of ${names}`;
      });
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
    applied(step) {
      seenStep = Math.max(seenStep, step);
    },
    recorded(record) {
      const { records } = world.disk;
      const isNew = !records.some(({ kind, step }) => kind === record.kind && step === record.step);
      invariants.hold("exactly once", isNew, () => `the ${record.kind} ${record.step} is recorded twice`);
      seenStep = Math.max(seenStep, record.step);
      if (record.kind !== "step") return;
      const last = records.findLast(({ kind }) => kind === "step")?.step ?? job.start.step;
      invariants.hold(
        "exactly once",
        record.step === nextStep(job, last),
        () => `step ${record.step} is recorded after ${last}`,
      );
      const { start, rows } = batchOf(job, record.step);
      invariants.hold("same maths", Math.abs(record.loss * rows - lossOf(start, rows)) < 1e-6, () => {
        return `step ${record.step} has loss ${record.loss}, not ${lossOf(start, rows) / rows}`;
      });
    },
    publishes({ step, best, files }) {
      const { records, published } = world.disk;
      const last = published.at(-1) ?? job.start.step;
      const recorded = records.findLast(({ kind }) => kind === "step")?.step ?? job.start.step;
      const isWhole =
        files.length > 0 && files.every(({ name, sizeBytes }, i) => name === `part ${i}` && sizeBytes === step);
      const flaw = files.map(({ sha256 }) => sha256).find((each) => each !== "") ?? "";
      invariants.hold("a checkpoint counts when it is whole", step > last && recorded >= step, () => {
        return `the checkpoint of step ${step} is published after ${last}, with ${recorded} steps recorded`;
      });
      invariants.hold("a checkpoint counts when it is whole", isWhole, () => {
        return `the checkpoint of step ${step} is ${JSON.stringify(files)}`;
      });
      // What has changed after the step was applied shows at the next comparison.
      const isNew = flaw.endsWith(`after step ${step}`);
      const isCompared = isDueAt(job, step, job.verifyEvery);
      invariants.hold("no weights differ unseen", flaw === "" || isNew || !isCompared, () => {
        return `checkpoint ${step} has a ${flaw}`;
      });
      const isThere = best === null || best === step || published.includes(best);
      invariants.hold("a checkpoint counts when it is whole", isThere, () => `best ${best} is not there`);
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
