// Drives the core: turns what happens (sessions, timers, signals) into events, and carries out the effects. All
// decisions are the core's; this file has none. With a store, what a decision changes is written down before anybody hears
// of it (write-ahead.ts).

import { assertNever, describeError, RingtuneError } from "../../common/errors.ts";
import type { RunRecord } from "../../common/records.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { WorkerSession, WorkerSessionHandlers } from "../../proto/session.ts";
import type { SessionEvent } from "../metrics.ts";
import type { Timeline } from "../trace/timeline.ts";
import type { Admission } from "./admission.ts";
import type { Batches } from "./batches.ts";
import { advance } from "../core/coordinator.ts";
import { changesOf, factsOf } from "../core/durable.ts";
import type { Job } from "../core/job.ts";
import type { Decision, Effect, Event, Outcome, State } from "../core/state.ts";
import { noRecords, recordFact, RECORDS_KEPT, SYNC_EVERY } from "../durable/recorded.ts";
import type { DurableStore, Facts } from "../durable/store.ts";
import { createSessions } from "./sessions.ts";
import { createWriteAhead } from "./write-ahead.ts";

type Welcome = Extract<FromCoordinator, { kind: "welcome" }>["value"];
type Form = Extract<FromCoordinator, { kind: "form" }>["value"];

/** What the driver needs from the run around it. */
export interface DriverHost {
  readonly job: Job;
  /** Where the run begins, or goes on. Changes. */
  readonly state: State;
  /** Where decisions are kept; undefined keeps none. What is there already is replaced. */
  readonly durable: DurableStore | undefined;
  /** Aborted when another coordinator leads the run. */
  readonly lost?: AbortSignal;
  readonly welcome: Omit<Welcome, "workerId" | "arrivedMs" | "sentMs">;
  readonly admission: Admission;
  readonly training: Batches;
  readonly validation: Batches;
  /** Where the parts of a checkpoint meet. */
  partsPath(step: number, attempt: number): string;
  record(record: RunRecord): Promise<void>;
  /** Resolves when all records so far have survived a power cut. */
  syncRecords(): Promise<void>;
  /** The parts of a checkpoint are written: make them one, and the latest. Throws why not. */
  publish(checkpoint: Extract<Effect, { kind: "publish" }>): Promise<void>;
  /** Remove what there is of a checkpoint that does not come to be. */
  discard(checkpoint: Extract<Effect, { kind: "discard" }>): Promise<void>;
  generation(generation: number, worldSize: number): void;
  /** The run is to have so many workers. */
  wanted(workers: number): void;
  /** A worker computes on this, and on nothing better for these reasons. */
  engine(description: string, why: readonly string[]): void;
  /** A worker's sentence for the user. */
  noticed(sentence: string): void;
  /** Told when plans and commits are sent. */
  readonly timeline: Pick<Timeline, "planned" | "committed">;
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
  /**
   * Decides nothing any more, and sends the workers away once what was decided is kept: another coordinator goes on with the
   * run. Only with a store. `reason`: "stopped by SIGTERM; the coordinator at b:7447 goes on with the run".
   */
  handOver(reason: string): void;
  readonly state: State;
  /** Resolves when the run is over, or handed over, and everything it wrote is on disk. */
  readonly outcome: Promise<Outcome | HandedOver>;
}

/** Another coordinator goes on with the run. */
export interface HandedOver {
  readonly kind: "handed-over";
  readonly step: number;
  readonly reason: string;
}

export function createDriver(host: DriverHost): Driver {
  const { job, state } = host;
  const inbox: { event: Event; answer?: (decision: Decision) => void }[] = [];
  let handling = false;
  let timer: NodeJS.Timeout | undefined;
  /** Writes to the run directory, one after another. */
  let storing = Promise.resolve();
  let storeFailure: string | undefined;
  let finish: (outcome: Outcome | HandedOver) => void = () => undefined;
  const outcome = new Promise<Outcome | HandedOver>((resolve) => (finish = resolve));
  /** How many workers were last said to be wanted. */
  let told = state.wanted;
  let over: RingtuneError | undefined;
  const sessions = createSessions({
    jobId: job.id,
    admission: host.admission,
    post: (event) => post(event),
    observe(event) {
      if (event.kind === "said") {
        const { kind, value } = event.message;
        if (kind === "formed") host.engine(value.engine, value.engineWhy);
        if (kind === "formed" || kind === "applied") value.notices.forEach((sentence) => host.noticed(sentence));
      }
      host.observe(event);
    },
    decided: (reason) => host.decided(reason),
    lastWords: (id) => host.lastWords(id),
  });
  const { durable } = host;
  /** Records that were decided, that are being written to the run directory, and that are safe there. */
  const records = { decided: 0, written: 0, safe: 0 };
  const ahead = durable && createWriteAhead(withRoomForRecords(durable), storeFailed);
  /** What is kept, or on its way. */
  let facts = durable ? factsOf(job, state) : {};

  function post(event: Event, answer?: (decision: Decision) => void): void {
    if (over !== undefined && state.phase !== "ended") return;
    inbox.push({ event, ...(answer === undefined ? {} : { answer }) });
    if (handling) return;
    handling = true;
    for (let next = inbox.shift(); next !== undefined; next = inbox.shift()) {
      carryOut(advance(job, state, next.event, now()), next.answer);
    }
    handling = false;
    clearTimeout(timer);
    if (state.phase !== "ended") {
      timer = setTimeout(() => post({ kind: "tick" }), Math.min(Math.max(1, state.tickMs - now()), 2 ** 31 - 1));
    }
  }

  /** Now, or when what was decided is written down. */
  function carryOut(decision: Decision, answer: ((decision: Decision) => void) | undefined): void {
    const { effects } = decision;
    const reason = untold(decision);
    // Most messages change nothing.
    if (effects.length === 0 && reason === "" && answer === undefined) return;
    // The worker that was meant, not one that takes its name while this is written.
    const targets = effects.map((effect) => ("to" in effect ? sessions.of(effect.to) : undefined));
    const { wanted } = state;
    const release = (): void => {
      if (reason !== "") host.decided(reason);
      effects.forEach((effect, index) => perform(effect, targets[index]));
      if (wanted !== told) host.wanted((told = wanted));
      answer?.(decision);
    };
    if (ahead === undefined) return release();
    const before = facts;
    facts = factsOf(job, state);
    const changes = Object.assign({}, changesOf(before, facts), ...effects.map(factOfRecord)) as Facts;
    ahead.pass(changes, release);
  }

  function factOfRecord(effect: Effect): Facts {
    return effect.kind === "record" ? recordFact((records.decided += 1), effect.record) : {};
  }

  /** Nothing is decided any more: whoever goes on with the run finds what was written. */
  function storeFailed(error: unknown): void {
    clearTimeout(timer);
    const code = error instanceof RingtuneError ? error.code : "disk_failed";
    const reason = describeError(error);
    leave(new RingtuneError("unavailable", `this coordinator has stopped: ${reason}`));
    void storing.then(() => finish({ kind: "failed", step: state.committed, code, reason }));
  }

  function handOver(reason: string): void {
    if (over !== undefined || ahead === undefined) return;
    clearTimeout(timer);
    over = new RingtuneError("unavailable", `this coordinator was ${reason}`);
    ahead.pass({}, () => {
      leave(new RingtuneError("unavailable", `this coordinator was ${reason}`));
      void storing.then(() => finish({ kind: "handed-over", step: state.committed, reason }));
    });
  }

  /** The workers look for another coordinator, with what they hold. */
  function leave(why: RingtuneError): void {
    over = why;
    for (const { id } of [...state.members, ...state.joining]) sessions.dismiss(id, sessions.of(id), why);
    sessions.close(why);
  }

  function perform(effect: Effect, session: WorkerSession | undefined): void {
    const send = (message: FromCoordinator): void => session?.send(message);
    switch (effect.kind) {
      case "welcome": {
        // By the time of day, which is compared with the worker's.
        const times = { arrivedMs: session?.arrivedMs ?? 0, sentMs: Date.now() };
        return send({ kind: "welcome", value: { ...host.welcome, workerId: effect.to, ...times } });
      }
      case "prepare": {
        const { shard } = host.training.shard(effect.batch, effect.shard);
        const { localWorldSize } = effect;
        return send({ kind: "prepare", value: { localWorldSize, shard, microbatch: job.microbatch } });
      }
      case "launch":
        return host.launch(effect.count);
      case "refuse":
        return; // the answer to whoever asked, see `ask`
      case "dismiss":
        return sessions.dismiss(effect.to, session, new RingtuneError(effect.code, effect.reason));
      case "form":
        host.generation(effect.generation, effect.members.length);
        return send({ kind: "form", value: formMessage(effect) });
      case "plan": {
        const { shard, batchTokens } = host.training.shard(effect.batch, effect.shard);
        const { generation, step } = effect;
        const learningRates = [...effect.learningRates];
        const plan = { generation, step, learningRates, shard, microbatch: job.microbatch, globalTokens: batchTokens };
        const firstRow = effect.shard.start - effect.batch.start;
        const value = { ...plan, clip: job.clip ?? 0, verify: effect.verify, firstRow, batchRows: effect.batch.rows };
        host.timeline.planned(effect.to, step, generation);
        return send({ kind: "plan", value });
      }
      case "commit":
        send({ kind: "commit", value: { generation: effect.generation, step: effect.step } });
        return host.timeline.committed(effect.step);
      case "evaluate": {
        const { shard } = host.validation.shard({ start: 0, rows: job.validationSequences }, effect.shard);
        const { generation, step } = effect;
        return send({ kind: "evaluate", value: { generation, step, shard, microbatch: job.microbatch } });
      }
      case "save": {
        const { generation, step, position, part, parts, attempt } = effect;
        const path = host.partsPath(step, attempt);
        return send({ kind: "save", value: { generation, step, position, path, part, parts, attempt } });
      }
      case "record":
        return storeRecord(effect.record);
      case "publish":
        return publish(effect);
      case "discard":
        return store(() => host.discard(effect).catch(() => undefined));
      case "finish":
        if (effect.drained) sessions.drained(effect.to);
        return send({ kind: "finish", value: { reason: effect.reason, drained: effect.drained } });
      case "ended":
        clearTimeout(timer);
        over =
          effect.outcome.kind === "forsaken"
            ? new RingtuneError("unavailable", effect.outcome.reason)
            : new RingtuneError("cancelled", "the run is over, it takes no more workers");
        sessions.close(over);
        void storing.then(() => finish(withStoreFailure(effect.outcome)));
        return;
      default:
        assertNever(effect);
    }
  }

  function storeRecord(record: RunRecord): void {
    const number = (records.written += 1);
    store(() => host.record(record));
    if (ahead === undefined || number % SYNC_EVERY !== 0) return;
    store(async () => {
      await host.syncRecords();
      records.safe = number;
    });
  }

  /** Places of records are used again: a write waits as long as one that it needs is not free. */
  function withRoomForRecords(store: DurableStore): Pick<DurableStore, "append" | "holds"> {
    return {
      holds: () => store.holds(),
      async append(changes) {
        if (records.decided - records.safe > RECORDS_KEPT) await storing;
        await store.append(changes);
      },
    };
  }

  function store(write: () => Promise<void>): void {
    storing = storing.then(write).catch((error: unknown) => {
      storeFailure ??= describeError(error);
      post({ kind: "disk-failed", reason: storeFailure });
    });
  }

  /** A checkpoint that the run directory does not take does not end the run. */
  function publish(effect: Extract<Effect, { kind: "publish" }>): void {
    const { attempt, files } = effect;
    const neededBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    storing = storing.then(() =>
      host.publish(effect).then(
        () => post({ kind: "published", attempt }),
        (error: unknown) => post({ kind: "unpublished", attempt, reason: describeError(error), neededBytes }),
      ),
    );
  }

  /** A run whose results did not reach the disk has failed, even if the core heard of it too late. */
  function withStoreFailure(outcome: Outcome): Outcome {
    if (storeFailure === undefined || outcome.kind === "failed") return outcome;
    return { kind: "failed", step: outcome.step, code: "disk_failed", reason: storeFailure };
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

  ahead?.pass({ ...noRecords, ...facts }, () => undefined);
  // Which the store says, in its own words.
  host.lost?.addEventListener("abort", () => ahead?.pass({}, () => undefined), { once: true });
  host.wanted(told);
  post({ kind: "tick" });
  return {
    accept: (session) => sessions.accept(session),
    post: (event) => post(event),
    ask,
    handOver,
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
  const { generation, rank, step, source, members, measureLinks } = effect;
  const here = members[rank];
  return {
    generation,
    rank,
    step,
    measureLinks,
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
      return { peer: { root: source.root, receivers: [...source.receivers] } };
    default:
      return assertNever(source);
  }
}

/** Milliseconds since 1970 that never jump back. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
