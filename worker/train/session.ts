// A worker's life: join, work through the coordinator's tasks in order, leave. One call, one session.

import { hostname } from "node:os";
import { describeError, RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import { openSession } from "../../proto/session.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import type { CollectiveEndpoint } from "../collective/collective.ts";
import { TaskQueue, type Task } from "./task-queue.ts";
import { createTrainer, type Report, type Trainer } from "./trainer.ts";

export interface SessionOptions {
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly workerId: string;
  readonly joinToken: string;
  readonly endpoint: CollectiveEndpoint;
  readonly connectTimeoutMs: number;
  /** Instead of what the coordinator's config says. */
  readonly device?: string;
  readonly threads?: number;
  /** Aborting leaves the run; its reason is told to the coordinator. */
  readonly signal: AbortSignal;
  /** For tests of the version check. */
  readonly protocolVersion?: number;
}

/** Resolves with the coordinator's reason when the run is over. Throws the cause when this worker has to leave. */
export async function runSession(options: SessionOptions): Promise<string> {
  const queue = new TaskQueue();
  let trainer: Trainer | undefined;
  let heartbeat: NodeJS.Timeout | undefined;
  let activity = { doing: "joining", inCollective: false };

  return new Promise<string>((resolve, reject) => {
    let over = false;
    const settle = (finish: () => void): void => {
      if (over) return;
      over = true;
      clearInterval(heartbeat);
      void (trainer?.close() ?? options.endpoint.close()).catch(() => undefined).then(finish);
    };

    const run = async (): Promise<void> => {
      const session = await openSession({
        address: options.coordinator,
        timeoutMs: options.connectTimeoutMs,
        handlers: {
          message(message) {
            try {
              if (message.kind === "welcome") welcome(message.value);
              else queue.push(message);
            } catch (error) {
              leave(error);
            }
          },
          closed(error) {
            const gone = new RingtuneError("worker_lost", `the coordinator at ${options.coordinator} is gone`);
            settle(() => reject(error ?? gone));
          },
        },
      });

      const leave = (error: unknown): void => {
        const code = error instanceof RingtuneError ? error.code : "internal";
        session.send({ kind: "failed", value: { code, message: describeError(error) } });
        session.end();
        settle(() => reject(error instanceof Error ? error : new Error(String(error))));
      };
      options.signal.addEventListener("abort", () => leave(options.signal.reason), { once: true });

      const report: Report = {
        send: (message: FromWorker) => session.send(message),
        doing(sentence, inCollective = false) {
          activity = { doing: sentence, inCollective };
          session.send({ kind: "heartbeat", value: activity });
        },
      };

      const welcome = (message: Extract<FromCoordinator, { kind: "welcome" }>["value"]): void => {
        if (trainer !== undefined) throw new RingtuneError("internal", "the coordinator welcomed this worker twice");
        const { device = message.device, threads = message.threads } = options;
        trainer = createTrainer({ ...message, device, threads }, options.endpoint, report);
        heartbeat = setInterval(
          () => session.send({ kind: "heartbeat", value: activity }),
          message.heartbeatSeconds * 1000,
        );
        work(trainer).then(
          (reason) => {
            session.end();
            settle(() => resolve(reason));
          },
          (error: unknown) => leave(error),
        );
      };

      const work = async (trainer: Trainer): Promise<string> => {
        for (;;) {
          const { task, waitedSeconds, signal } = await queue.next();
          if (task.kind === "finish") return task.value.reason;
          try {
            await perform(trainer, task, waitedSeconds, signal);
          } catch (error) {
            // The generation ended under the task: nothing was changed, the next task says how to go on.
            if (!signal.aborted) throw error;
          }
        }
      };

      const perform = (trainer: Trainer, task: Task, waitedSeconds: number, signal: AbortSignal): Promise<void> => {
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
            throw new RingtuneError("protocol_mismatch", `the coordinator sent an unexpected ${task.kind}`);
        }
      };

      session.send({
        kind: "join",
        value: {
          protocolVersion: options.protocolVersion ?? PROTOCOL_VERSION,
          workerId: options.workerId,
          joinToken: options.joinToken,
          host: hostname(),
          pid: process.pid,
          ringEndpoint: options.endpoint.address,
        },
      });
    };
    run().catch((error: unknown) => settle(() => reject(error as Error)));
  });
}
