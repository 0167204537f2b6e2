// Drives the core: turns what happens (sessions, timers, signals) into events, and carries out the effects. All
// decisions are the core's; this file has none.

import { randomUUID } from "node:crypto";
import { assertNever, describeError, RingtuneError } from "../../common/errors.ts";
import type { RunRecord } from "../../common/records.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import type { WorkerSession, WorkerSessionHandlers } from "../../proto/session.ts";
import type { SessionEvent } from "../metrics.ts";
import type { Admission } from "./admission.ts";
import type { Batches } from "./batches.ts";
import { advance, initialState } from "../core/coordinator.ts";
import type { Job } from "../core/job.ts";
import type { Decision, Effect, Event, Outcome, State } from "../core/state.ts";

type Welcome = Extract<FromCoordinator, { kind: "welcome" }>["value"];
type Form = Extract<FromCoordinator, { kind: "form" }>["value"];

/** What the driver needs from the run around it. */
export interface DriverHost {
  readonly job: Job;
  readonly welcome: Welcome;
  readonly admission: Admission;
  readonly training: Batches;
  readonly validation: Batches;
  checkpointPath(step: number): string;
  record(record: RunRecord): Promise<void>;
  /** The checkpoint of `step` is whole: make it the latest. That of step `best` has the best weights. */
  publish(step: number, best: number | null): Promise<void>;
  generation(generation: number, worldSize: number): void;
  /** The run is to have so many workers. */
  wanted(workers: number): void;
  /** A worker computes on this, and on nothing better for these reasons. */
  engine(description: string, why: readonly string[]): void;
  /** A worker's sentence for the user. */
  noticed(sentence: string): void;
  /** Who comes, speaks and goes, for the metrics. */
  observe(event: SessionEvent): void;
  /** A sentence for the log. What ends the run is said by the outcome alone. */
  decided(reason: string): void;
  /** Start so many workers more, or say that they are wanted. */
  launch(count: number): void;
  /** How the process of a worker ended whose stream broke, where that is known: "was killed by SIGKILL". */
  lastWords(id: string): Promise<string | undefined>;
}

export interface Driver {
  accept(session: WorkerSession): WorkerSessionHandlers;
  post(event: Event): void;
  /** Posts what a person asks for. Resolves with the core's sentence; throws `usage` with it when it can't be done. */
  ask(event: Event): Promise<string>;
  readonly state: State;
  /** Resolves when the run is over and everything it wrote is on disk. */
  readonly outcome: Promise<Outcome>;
}

export function createDriver(host: DriverHost): Driver {
  const { job } = host;
  const sessions = new Map<string, WorkerSession>();
  /** Told to go while the run goes on. */
  const drained = new Set<string>();
  const inbox: { event: Event; answer?: (decision: Decision) => void }[] = [];
  let handling = false;
  let timer: NodeJS.Timeout | undefined;
  /** Writes to the run directory, one after another. */
  let storing = Promise.resolve();
  let storeFailure: string | undefined;
  let finish: (outcome: Outcome) => void = () => undefined;
  const outcome = new Promise<Outcome>((resolve) => (finish = resolve));
  const state = initialState(job, now());
  /** How many workers were last said to be wanted. */
  let told = -1;
  let over: RingtuneError | undefined;

  function post(event: Event, answer?: (decision: Decision) => void): void {
    inbox.push({ event, ...(answer === undefined ? {} : { answer }) });
    if (handling) return;
    handling = true;
    for (let next = inbox.shift(); next !== undefined; next = inbox.shift()) {
      const decision = advance(job, state, next.event, now());
      const reason = untold(decision);
      if (reason !== "") host.decided(reason);
      decision.effects.forEach(perform);
      if (state.wanted !== told) host.wanted((told = state.wanted));
      next.answer?.(decision);
    }
    handling = false;
    clearTimeout(timer);
    if (state.phase !== "ended") {
      timer = setTimeout(() => post({ kind: "tick" }), Math.min(Math.max(1, state.tickMs - now()), 2 ** 31 - 1));
    }
  }

  function send(to: string, message: FromCoordinator): void {
    sessions.get(to)?.send(message);
  }

  function perform(effect: Effect): void {
    switch (effect.kind) {
      case "welcome":
        return send(effect.to, { kind: "welcome", value: host.welcome });
      case "prepare": {
        const { shard } = host.training.shard(effect.batch, effect.shard);
        const { localWorldSize } = effect;
        return send(effect.to, { kind: "prepare", value: { localWorldSize, shard, microbatch: job.microbatch } });
      }
      case "launch":
        return host.launch(effect.count);
      case "refuse":
        return; // the answer to whoever asked, see `ask`
      case "dismiss":
        sessions.get(effect.to)?.reject(new RingtuneError(effect.code, effect.reason));
        sessions.delete(effect.to);
        return;
      case "form":
        host.generation(effect.generation, effect.members.length);
        return send(effect.to, { kind: "form", value: formMessage(effect) });
      case "plan": {
        const { shard, batchTokens } = host.training.shard(effect.batch, effect.shard);
        const { generation, step, learningRate } = effect;
        const plan = { generation, step, learningRate, shard, microbatch: job.microbatch, globalTokens: batchTokens };
        const firstRow = effect.shard.start - effect.batch.start;
        const value = { ...plan, clip: job.clip ?? 0, verify: effect.verify, firstRow, batchRows: effect.batch.rows };
        return send(effect.to, { kind: "plan", value });
      }
      case "commit":
        return send(effect.to, { kind: "commit", value: { generation: effect.generation, step: effect.step } });
      case "evaluate": {
        const { shard } = host.validation.shard({ start: 0, rows: job.validationSequences }, effect.shard);
        const { generation, step } = effect;
        return send(effect.to, { kind: "evaluate", value: { generation, step, shard, microbatch: job.microbatch } });
      }
      case "save": {
        const { generation, step, position } = effect;
        const path = host.checkpointPath(step);
        return send(effect.to, { kind: "save", value: { generation, step, position, path } });
      }
      case "record":
        return store(() => host.record(effect.record));
      case "publish":
        return store(() => host.publish(effect.step, effect.best));
      case "finish":
        if (effect.drained) drained.add(effect.to);
        return send(effect.to, { kind: "finish", value: { reason: effect.reason, drained: effect.drained } });
      case "ended":
        clearTimeout(timer);
        over = new RingtuneError("cancelled", "the run is over, it takes no more workers");
        void storing.then(() => finish(withStoreFailure(effect.outcome)));
        return;
      default:
        assertNever(effect);
    }
  }

  function store(write: () => Promise<void>): void {
    storing = storing.then(write).catch((error: unknown) => {
      storeFailure ??= describeError(error);
      post({ kind: "disk-failed", reason: storeFailure });
    });
  }

  /** A run whose results did not reach the disk has failed, even if the core heard of it too late. */
  function withStoreFailure(outcome: Outcome): Outcome {
    if (storeFailure === undefined || outcome.kind === "failed") return outcome;
    return { kind: "failed", step: outcome.step, code: "disk_failed", reason: storeFailure };
  }

  function accept(session: WorkerSession): WorkerSessionHandlers {
    let id: string | undefined;
    const refuse = (error: RingtuneError): void => {
      if (over === undefined && !host.admission.isNoise(session.peer))
        host.decided(`refused a worker: ${error.message}`);
      host.observe({ kind: "refused" });
      session.reject(error);
    };
    const waited = host.admission.await(session.peer, refuse);
    return {
      message(message) {
        if (id !== undefined) {
          if (message.kind === "formed") {
            host.engine(message.value.engine, message.value.engineWhy);
            message.value.notices.forEach((sentence) => host.noticed(sentence));
          }
          host.observe({ kind: "said", id, message });
          return post({ kind: "said", id, message });
        }
        waited();
        try {
          id = admit(session, message);
        } catch (error) {
          refuse(error as RingtuneError);
        }
      },
      closed(reason) {
        waited();
        if (id === undefined) return;
        const left = id;
        sessions.delete(left);
        host.observe({ kind: "left", id: left, expected: over !== undefined || drained.delete(left) });
        void host.lastWords(left).then((words) => post({ kind: "left", id: left, reason: words ?? reason }));
      },
    };
  }

  /** Checks a Join; returns the worker's id. */
  function admit(session: WorkerSession, message: FromWorker): string {
    if (message.kind !== "join") {
      throw new RingtuneError("protocol_mismatch", `the first message of a session is join, not ${message.kind}`);
    }
    if (over !== undefined) throw over;
    host.admission.check(message.value, session.peer);
    const { workerId, host: hostName, pid, ringEndpoint } = message.value;
    const taken = sessions.has(workerId);
    const id = taken || workerId === "" ? `${workerId || "w"}-${randomUUID().slice(0, 4)}` : workerId;
    sessions.set(id, session);
    host.observe({ kind: "joined", id, host: hostName });
    post({ kind: "joined", worker: { id, host: hostName, pid, ringEndpoint } });
    return id;
  }

  function ask(event: Event): Promise<string> {
    return new Promise((resolve, reject) => {
      if (over !== undefined) return reject(over);
      post(event, ({ effects, reason }) => {
        const refused = effects.find((effect) => effect.kind === "refuse");
        if (refused !== undefined) reject(new RingtuneError("usage", refused.reason));
        else resolve(reason);
      });
    });
  }

  post({ kind: "tick" });
  return {
    accept,
    post: (event) => post(event),
    ask,
    get state() {
      return state;
    },
    outcome,
  };
}

/** Why a decision was made, without the sentence that the outcome repeats. */
function untold({ effects, reason }: Decision): string {
  const ended = effects.find((effect) => effect.kind === "ended");
  if (ended === undefined || ended.outcome.kind === "completed") return reason;
  return reason.endsWith(ended.outcome.reason)
    ? reason.slice(0, -ended.outcome.reason.length).replace(/; $/, "")
    : reason;
}

function formMessage(effect: Extract<Effect, { kind: "form" }>): Form {
  const { generation, rank, step, source, members } = effect;
  const here = members[rank];
  return {
    generation,
    rank,
    step,
    members: members.map(({ id, ringEndpoint }) => ({ workerId: id, ringEndpoint })),
    localWorldSize: members.filter(({ host }) => host === here?.host).length,
    ...sourceMessage(source),
  };
}

function sourceMessage(
  source: Extract<Effect, { kind: "form" }>["source"],
): Pick<Form, "seed" | "folder" | "held" | "peer"> {
  switch (source.kind) {
    case "seed":
      return { seed: {} };
    case "model":
      return { folder: { path: source.path, checkpoint: false } };
    case "checkpoint":
      return { folder: { path: source.path, checkpoint: true } };
    case "held":
      return { held: {} };
    case "peer":
      return { peer: { root: source.root, keeps: source.keeps } };
    default:
      return assertNever(source);
  }
}

/** Milliseconds since 1970 that never jump back. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
