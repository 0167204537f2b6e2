// A worker's life: join, work through the coordinator's tasks in order, leave. One call, one session.

import { hostname } from "node:os";
import type { Credentials } from "../../common/certificates.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { openConnection, type Connection } from "../control/connection.ts";
import type { HealthOptions } from "../control/health.ts";
import { TaskQueue, type QueuedTask } from "./task-queue.ts";
import type { TrainingSettings } from "./trained-weights.ts";
import { createTrainer, type Report, type Trainer } from "./trainer.ts";

export interface SessionOptions {
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly workerId: string;
  readonly joinToken: string;
  readonly endpoint: CollectiveEndpoint;
  readonly connectTimeoutMs: number;
  /** For mutual TLS, if the coordinator speaks it. */
  readonly credentials?: Credentials;
  /** Aborting leaves the run; its reason is told to the coordinator. */
  readonly signal: AbortSignal;
  /** Aborting asks the coordinator to let this worker go when its step is done; its reason is an Error. Before it is welcome, it leaves. */
  readonly drain: AbortSignal;
  /** Instead of what the coordinator's config says. */
  readonly device?: string;
  readonly threads?: number;
  /** Answer health checks there, and say where. */
  readonly health?: HealthOptions;
  readonly healthy?: (url: string) => void;
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
  const gone = new RingtuneError("worker_lost", `the coordinator at ${options.coordinator} is gone`);
  const connection = await openConnection({
    address: options.coordinator,
    timeoutMs: options.connectTimeoutMs,
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(options.health === undefined ? {} : { health: options.health }),
    healthy: (url) => options.healthy?.(url),
    signal: AbortSignal.any([options.signal, options.drain]),
    message: (message) => queue.push(message),
    closed: (error) => queue.close(error ?? gone),
  });
  const leave = (): void => queue.close(options.signal.reason as Error);
  options.signal.addEventListener("abort", leave, { once: true });
  if (options.signal.aborted) leave();
  let isWelcome = false;
  const askToGo = (): void => {
    const reason = options.drain.reason as Error;
    if (isWelcome) connection.send({ kind: "leaving", value: { reason: reason.message } });
    else queue.close(reason);
  };
  options.drain.addEventListener("abort", askToGo, { once: true });
  if (options.drain.aborted) askToGo();

  const report = reportTo(connection);
  let trainer: Trainer | undefined;
  try {
    connection.send({ kind: "join", value: joinMessage(options) });
    const { task } = await queue.next();
    if (task.kind === "finish") return task.value;
    if (task.kind !== "welcome") throw unexpected(task.kind);
    isWelcome = true;
    connection.beatEvery(task.value.heartbeatSeconds * 1000);
    const { device = task.value.device, threads = task.value.threads } = options;
    assertSameBits(task.value, { device, threads });
    trainer = createTrainer({ ...task.value, device, threads }, options.endpoint, report);
    return await work(trainer, queue);
  } catch (error) {
    const code = error instanceof RingtuneError ? error.code : "internal";
    connection.send({ kind: "failed", value: { code, message: describeError(error) } });
    throw error;
  } finally {
    await connection.end();
    options.signal.removeEventListener("abort", leave);
    options.drain.removeEventListener("abort", askToGo);
    await trainer?.close();
  }
}

async function work(trainer: Trainer, queue: TaskQueue): Promise<Ending> {
  for (;;) {
    const next = await queue.next();
    if (next.task.kind === "finish") return next.task.value;
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
      return trainer.runPlan(task.value, { waitedSeconds, signal, committed: (step) => queue.commit(step) });
    case "evaluate":
      return trainer.evaluate(task.value);
    case "save":
      return trainer.save(task.value);
    default:
      throw unexpected(task.kind);
  }
}

function reportTo(connection: Connection): Report {
  return {
    send: (message) => connection.send(message),
    doing: (doing, inCollective = false) => connection.doing({ doing, inCollective }),
  };
}

function joinMessage({ protocolVersion = PROTOCOL_VERSION, workerId, joinToken, endpoint }: SessionOptions) {
  return { protocolVersion, workerId, joinToken, host: hostname(), pid: process.pid, ringEndpoint: endpoint.address };
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
