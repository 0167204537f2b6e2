// A worker's life: find the coordinator, join, work through its tasks in order, leave. A coordinator that is lost is looked
// for: the worker keeps its weights, its optimizer's state, the gradient that waits for a commit and its end of the ring,
// and offers them when it joins again.

import { hostname } from "node:os";
import type { Credentials } from "../../common/certificates.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import type { CollectiveEndpointOptions } from "../collective/zeromq.ts";
import { createConnection, gone, type Connection } from "../control/connection.ts";
import { findCoordinator, isPassing, startingAfter } from "../control/find-coordinator.ts";
import type { HealthOptions } from "../control/health.ts";
import type { Sendable } from "../control/thread.ts";
import type { WorkerLog } from "../worker-log.ts";
import { startReducer } from "./overlap/reducer-client.ts";
import { aborted, TaskQueue, type QueuedTask } from "./task-queue.ts";
import type { TrainingSettings } from "./trained-weights.ts";
import { createTrainer, type Report, type Trainer } from "./trainer.ts";

export interface SessionOptions {
  /** host:port of the coordinator, or of all that may lead. */
  readonly coordinators: readonly string[];
  readonly workerId: string;
  readonly joinToken: string;
  readonly endpoint: CollectiveEndpoint;
  /** How to open another, for gradients that are reduced while others are computed; left out, none are. */
  readonly second?: CollectiveEndpointOptions;
  /** How long the first welcome is waited for. */
  readonly connectTimeoutMs: number;
  /** How long the only coordinator may be silent before it is called again; 0: as long as the connection stands. */
  readonly silenceMs: number;
  /** For mutual TLS, if the coordinator speaks it. */
  readonly credentials?: Credentials;
  /** Aborting leaves the run; its reason is told to the coordinator. */
  readonly signal: AbortSignal;
  /**
   * Aborting asks the coordinator to let this worker go when its step is done; its reason is an Error. While there is no
   * coordinator, it leaves.
   */
  readonly drain: AbortSignal;
  /** Instead of what the coordinator's config says. */
  readonly device?: string;
  readonly threads?: number;
  /** Answer health checks there, and say where. */
  readonly health?: HealthOptions;
  readonly healthy?: (url: string) => void;
  /** What happens to this worker. */
  readonly log: WorkerLog;
  /** For tests of the version check. */
  readonly protocolVersion?: number;
}

/** How a worker's part in a run ended. */
export interface Ending {
  /** The coordinator's sentence. */
  readonly reason: string;
  /** The run goes on without this worker. */
  readonly drained: boolean;
}

type Welcome = Extract<FromCoordinator, { kind: "welcome" }>["value"];

/** A call that is refused a connection waits so long for somebody to listen when there are other addresses. */
const ROUND_TIMEOUT_MS = 1000;
/** So long an answer to Join is waited for, or five heartbeats if that is longer, before it is asked for on another connection. */
const ANSWER_WITHIN_MS = 5000;
/** A coordinator that is silent for so long is left for another: after about as long its lease runs out. */
const SILENCE_AMONG_SEVERAL_MS = 2500;
/** Given up so often for being late, without a step in between, it does not come back. */
const MAX_LATE = 3;

/** Resolves when the run is over, or this worker has drained. Throws the cause when this worker has to leave. */
export async function runSession(options: SessionOptions): Promise<Ending> {
  try {
    return await attend(options);
  } finally {
    await options.endpoint.close();
  }
}

async function attend(options: SessionOptions): Promise<Ending> {
  const queue = new TaskQueue();
  const { signal, drain, coordinators } = options;
  let welcome: Welcome | undefined;
  let trainer: Trainer | undefined;
  /** Aborts when nobody needs to be found any more. */
  const over = new AbortController();
  const leaving = AbortSignal.any([signal, drain, over.signal]);
  const connection = createConnection({
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(options.health === undefined ? {} : { health: options.health }),
    healthy: (url) => options.healthy?.(url),
    signal: leaving,
    message: (message) => queue.push(message),
    closed: (error) => void comeBack(error ?? gone(coordinators.join(", "))),
  });
  let isThere = false;
  /** The addresses that took this worker, and that it called, last. */
  let found: string | undefined;
  let called: string | undefined;
  const late = { step: -1, times: 0 };

  /** Joins at the first address that takes this worker; while there is time. */
  async function join(withinMs: number): Promise<FromCoordinator> {
    const isNew = welcome === undefined;
    const heartbeatMs = (welcome?.heartbeatSeconds ?? 0) * 1000;
    const patient = isNew && coordinators.length === 1;
    const answer = await findCoordinator({
      addresses: startingAfter(found, coordinators),
      withinMs,
      attempt: (address, timeoutMs) =>
        connection.join({
          address: (called = address),
          timeoutMs: patient ? timeoutMs : Math.min(timeoutMs, ROUND_TIMEOUT_MS),
          patient,
          answerWithinMs: Math.min(timeoutMs, Math.max(ANSWER_WITHIN_MS, 5 * heartbeatMs)),
          silenceMs: coordinators.length > 1 ? SILENCE_AMONG_SEVERAL_MS : options.silenceMs,
          join: () => joinMessage(options, welcome, trainer),
        }),
      // Who waits for its only coordinator waits within one call; a coordinator that dies before it answers may start again.
      isPassing: (error) => isPassing(error) && !(patient && error.code === "timed_out"),
      signal: leaving,
    });
    if (answer.kind !== "welcome") return answer;
    isThere = true;
    found = called;
    connection.beatEvery(answer.value.heartbeatSeconds * 1000);
    return answer;
  }

  /** The stream is lost, or this worker was given up: it goes on with what it has under way, and looks for the coordinator. */
  async function comeBack(error: RingtuneError): Promise<void> {
    isThere = false;
    if (queue.isFinished) return;
    const seconds = welcome?.recoverSeconds ?? 0;
    const step = trainer?.holding().step ?? 0;
    late.times = error.code !== "timed_out" ? 0 : late.step === step ? late.times + 1 : 1;
    late.step = step;
    if (!isPassing(error) || seconds === 0 || late.times > MAX_LATE || leaving.aborted) {
      return queue.close(leaving.aborted && !over.signal.aborted ? (leaving.reason as Error) : error);
    }
    const where = coordinators.join(", ");
    options.log.write(
      `${error.message}; looking for the coordinator at ${where} for up to ${seconds} s, with the weights of step ${step}`,
      { level: "warn" },
    );
    const start = performance.now();
    try {
      const answer = await join(seconds * 1000);
      if (answer.kind === "finish") return queue.push(answer);
      if (answer.kind !== "welcome") throw unexpected(answer.kind);
      options.log.write(`found the coordinator again after ${((performance.now() - start) / 1000).toFixed(1)} s`);
    } catch (cause) {
      const last = cause as RingtuneError;
      const lost = `no coordinator at ${where} took this worker back within ${seconds} s (${describeError(last)}); it held the weights of step ${trainer?.holding().step ?? 0}`;
      queue.close(
        last instanceof RingtuneError && isPassing(last) ? new RingtuneError("worker_lost", lost, { cause }) : last,
      );
    }
  }

  const leave = (): void => queue.close(signal.reason as Error);
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  const askToGo = (): void => {
    const reason = drain.reason as Error;
    if (!isThere) return queue.close(reason);
    const leaving = { kind: "leaving", value: { reason: reason.message } } as const;
    options.log.sent(leaving);
    connection.send(leaving);
  };
  drain.addEventListener("abort", askToGo, { once: true });
  if (drain.aborted) askToGo();

  try {
    const answer = await join(options.connectTimeoutMs);
    if (answer.kind === "finish") return answer.value;
    if (answer.kind !== "welcome") throw unexpected(answer.kind);
    welcome = answer.value;
    options.log.locate({ job: welcome.jobId, worker: welcome.workerId });
    const { device = welcome.device, threads = welcome.threads } = options;
    assertSameBits(welcome, { device, threads });
    const { endpoint, second, log } = options;
    trainer = createTrainer({ ...welcome, device, threads }, endpoint, reportTo(connection, queue, log), {
      startReducer: second && (() => startReducer(second)),
    });
    const ending = await work(trainer, queue, log);
    // The run goes on, and counts on what this worker has copied.
    if (ending.drained) await Promise.race([trainer.written(), aborted(options.signal)]);
    return ending;
  } catch (error) {
    const code = error instanceof RingtuneError ? error.code : "internal";
    connection.send({ kind: "failed", value: { code, message: describeError(error) } });
    throw error;
  } finally {
    over.abort(new RingtuneError("cancelled", "the session is over"));
    await connection.end();
    signal.removeEventListener("abort", leave);
    drain.removeEventListener("abort", askToGo);
    await trainer?.close();
  }
}

async function work(trainer: Trainer, queue: TaskQueue, log: WorkerLog): Promise<Ending> {
  for (;;) {
    const next = await queue.next();
    if (next.task.kind === "finish") return next.task.value;
    if (next.task.kind === "form") log.locate({ generation: next.task.value.generation, rank: next.task.value.rank });
    try {
      await perform(trainer, queue, next);
    } catch (error) {
      // The generation ended under the task, or its ring broke: nothing was changed, the coordinator says how to go on.
      if (next.signal.aborted) continue;
      if (!(error instanceof RingtuneError) || error.code !== "collective_failed") throw error;
      queue.abandonGeneration();
      trainer.interrupted(error.message);
    }
  }
}

function perform(trainer: Trainer, queue: TaskQueue, { task, waitedSeconds, signal }: QueuedTask): Promise<void> {
  switch (task.kind) {
    case "prepare":
      return trainer.prepare(task.value);
    case "form":
      return trainer.form(task.value, signal);
    case "plan":
      return trainer.runPlan(task.value, { waitedSeconds, signal, committed: (step) => queue.commit(step, signal) });
    case "evaluate":
      return trainer.evaluate(task.value);
    case "save":
      return trainer.save(task.value, signal);
    default:
      throw unexpected(task.kind);
  }
}

function reportTo(connection: Connection, queue: TaskQueue, log: WorkerLog): Report {
  return {
    fail: (error) => queue.close(error),
    send(message) {
      log.sent(message);
      connection.send(message);
    },
    doing: (doing, inCollective = false) => connection.doing({ doing, inCollective }),
  };
}

function joinMessage(
  { protocolVersion = PROTOCOL_VERSION, workerId, joinToken, endpoint }: SessionOptions,
  welcome: Welcome | undefined,
  trainer: Trainer | undefined,
): Sendable {
  const holding = welcome && trainer ? { jobId: welcome.jobId, ...trainer.holding() } : null;
  const who = { workerId: welcome?.workerId ?? workerId, host: hostname(), pid: process.pid };
  return {
    kind: "join",
    value: { protocolVersion, joinToken, ...who, ringEndpoint: endpoint.address, holding },
  };
}

/** In a run that is to be bit-identical every worker computes with what the configuration says. */
function assertSameBits(
  { trainingJson, ...wanted }: { trainingJson: string; device: string; threads: number },
  own: { device: string; threads: number },
): void {
  const { bit_identical } = JSON.parse(trainingJson) as TrainingSettings;
  for (const what of ["device", "threads"] as const) {
    if (!bit_identical || own[what] === wanted[what]) continue;
    throw new RingtuneError(
      "usage",
      `this worker was started with --${what} ${own[what]}, and the run is train.bit_identical with cluster.${what} ${wanted[what]}; leave it out`,
    );
  }
}

function unexpected(kind: string): RingtuneError {
  return new RingtuneError("protocol_mismatch", `the coordinator sent an unexpected ${kind}`);
}
