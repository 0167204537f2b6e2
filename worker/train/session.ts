// A worker's life: join, work through the coordinator's tasks in order, leave. One call, one session.

import { hostname } from "node:os";
import type { Credentials } from "../../common/certificates.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { openSession, type CoordinatorSession } from "../../proto/session.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { TaskQueue, type QueuedTask } from "./task-queue.ts";
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
  /** Instead of what the coordinator's config says. */
  readonly device?: string;
  readonly threads?: number;
  /** For tests of the version check. */
  readonly protocolVersion?: number;
}

/** Resolves with the coordinator's reason when the run is over. Throws the cause when this worker has to leave. */
export async function runSession(options: SessionOptions): Promise<string> {
  try {
    return await attend(options);
  } finally {
    await options.endpoint.close();
  }
}

async function attend(options: SessionOptions): Promise<string> {
  const queue = new TaskQueue();
  const gone = new RingtuneError("worker_lost", `the coordinator at ${options.coordinator} is gone`);
  const session = await openSession({
    address: options.coordinator,
    timeoutMs: options.connectTimeoutMs,
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    signal: options.signal,
    handlers: { message: (message) => queue.push(message), closed: (error) => queue.close(error ?? gone) },
  });
  const leave = (): void => queue.close(options.signal.reason as Error);
  options.signal.addEventListener("abort", leave, { once: true });
  if (options.signal.aborted) leave();

  const report = createReport(session);
  let trainer: Trainer | undefined;
  try {
    session.send({ kind: "join", value: joinMessage(options) });
    const { task } = await queue.next();
    if (task.kind === "finish") return task.value.reason;
    if (task.kind !== "welcome") throw unexpected(task.kind);
    report.every(task.value.heartbeatSeconds);
    const { device = task.value.device, threads = task.value.threads } = options;
    trainer = createTrainer({ ...task.value, device, threads }, options.endpoint, report);
    return await work(trainer, queue);
  } catch (error) {
    const code = error instanceof RingtuneError ? error.code : "internal";
    session.send({ kind: "failed", value: { code, message: describeError(error) } });
    throw error;
  } finally {
    report.stop();
    await session.end();
    options.signal.removeEventListener("abort", leave);
    await trainer?.close();
  }
}

async function work(trainer: Trainer, queue: TaskQueue): Promise<string> {
  for (;;) {
    const next = await queue.next();
    if (next.task.kind === "finish") return next.task.value.reason;
    try {
      await perform(trainer, queue, next);
    } catch (error) {
      // The generation ended under the task, or its ring broke: nothing was changed, the coordinator says how to go on.
      if (next.signal.aborted) continue;
      if (!(error instanceof RingtuneError) || error.code !== "collective_failed") throw error;
      trainer.interrupted(error.message);
    }
  }
}

function perform(trainer: Trainer, queue: TaskQueue, { task, waitedSeconds, signal }: QueuedTask): Promise<void> {
  switch (task.kind) {
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

/** Says what the worker does: at every change, and at every heartbeat. */
function createReport(session: CoordinatorSession): Report & { every(seconds: number): void; stop(): void } {
  let activity = { doing: "joining", inCollective: false };
  let timer: NodeJS.Timeout | undefined;
  const beat = (): void => session.send({ kind: "heartbeat", value: activity });
  return {
    send: (message) => session.send(message),
    doing(sentence, inCollective = false) {
      activity = { doing: sentence, inCollective };
      beat();
    },
    every: (seconds) => (timer = setInterval(beat, seconds * 1000)),
    stop: () => clearInterval(timer),
  };
}

function joinMessage({ protocolVersion = PROTOCOL_VERSION, workerId, joinToken, endpoint }: SessionOptions) {
  return { protocolVersion, workerId, joinToken, host: hostname(), pid: process.pid, ringEndpoint: endpoint.address };
}

function unexpected(kind: string): RingtuneError {
  return new RingtuneError("protocol_mismatch", `the coordinator sent an unexpected ${kind}`);
}
