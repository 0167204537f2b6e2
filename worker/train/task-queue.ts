// The worker's inbox: messages are worked through in order, but a commit overtakes (it belongs to the plan under way)
// and a new generation drops whatever was queued before it.

import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";

export type Task = Exclude<FromCoordinator, { kind: "commit" }>;

export interface QueuedTask {
  readonly task: Task;
  /** How long it was waited for. */
  readonly waitedSeconds: number;
  /** Aborts when the task's generation is over. */
  readonly signal: AbortSignal;
}

/** The coordinator stays one plan ahead; anything near this many tasks is a coordinator gone wrong. */
const MAX_TASKS = 64;

export class TaskQueue {
  #tasks: Task[] = [];
  #wake: (() => void) | undefined;
  #closed: Error | undefined;
  #committed = 0;
  #isFinished = false;
  #commitWaiters: { step: number; resolve: () => void; reject: (reason: Error) => void }[] = [];
  #generation = new AbortController();
  /** Nothing more is done in this generation. */
  #isAbandoned = false;

  push(message: FromCoordinator): void {
    switch (message.kind) {
      case "commit":
        this.#committed = message.value.step;
        for (const { resolve } of this.#commitWaiters.filter(({ step }) => step <= this.#committed)) resolve();
        this.#commitWaiters = this.#commitWaiters.filter(({ step }) => step > this.#committed);
        return;
      case "form":
        this.#drop(new RingtuneError("collective_failed", `generation ${message.value.generation} takes over`));
        this.#committed = message.value.step;
        this.#isAbandoned = false;
        break;
      case "finish":
        this.#isFinished = true;
        this.#drop(new RingtuneError("cancelled", message.value.reason));
        break;
      default:
        if (this.#isAbandoned) return;
        if (this.#tasks.length >= MAX_TASKS) {
          return this.close(
            new RingtuneError("internal", `${this.#tasks.length} tasks are queued, limit ${MAX_TASKS}`),
          );
        }
    }
    this.#tasks.push(message);
    this.#wake?.();
  }

  /** Its ring broke: what was planned in it would work on weights without the step that failed. A form comes next. */
  abandonGeneration(): void {
    this.#isAbandoned = true;
    this.#tasks = [];
  }

  /** Ends the generation under way; `next` throws the reason. A `finish` that has come stays the last word. */
  close(reason: Error): void {
    if (this.#closed !== undefined || this.#isFinished) return;
    this.#closed = reason;
    this.#drop(reason);
    this.#wake?.();
  }

  /** The coordinator has said its last word. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** The next task. Throws the reason of `close`. */
  async next(): Promise<QueuedTask> {
    const start = performance.now();
    for (;;) {
      if (this.#closed !== undefined) throw this.#closed;
      const task = this.#tasks.shift();
      if (task !== undefined) {
        return { task, waitedSeconds: (performance.now() - start) / 1000, signal: this.#generation.signal };
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Resolves when `step` is committed; rejects when the generation ends before, whose `signal` came with the task. */
  async commit(step: number, signal: AbortSignal): Promise<void> {
    if (step <= this.#committed) return;
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => this.#commitWaiters.push({ step, resolve, reject }));
  }

  #drop(reason: Error): void {
    this.#generation.abort(reason);
    this.#generation = new AbortController();
    this.#tasks = [];
    for (const { reject } of this.#commitWaiters) reject(reason);
    this.#commitWaiters = [];
  }
}

/** Resolves when the signal has aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
