// The run directory: records and checkpoints. Writes happen one after another and take a moment; those that were not done
// when the coordinator died are not there, and whoever starts next does them, from what was kept. It can be full.

import type { RunRecord } from "../../../common/records.ts";
import type { Start } from "../../../coordinator/core/job.ts";
import type { Effect, Event } from "../../../coordinator/core/state.ts";
import { keptRecords } from "../../../coordinator/durable/recorded.ts";
import type { Facts } from "../../../coordinator/durable/store.ts";
import type { World } from "./world.ts";

type Write = Extract<Effect, { kind: "record" | "publish" }>;

/** The process that writes. */
interface Writer {
  readonly alive: boolean;
  post(event: Event): void;
}

export class SimulatedDisk {
  readonly #world: World;
  readonly records: RunRecord[] = [];
  readonly published: number[] = [];
  best: number | undefined;
  #busyUntilMs = 0;
  /** Writes that will find it full. */
  readonly #full: (() => void)[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Runs in the order of the calls. */
  write(effect: Write, writer: Writer): void {
    const { timeline, random } = this.#world;
    const ms = effect.kind === "publish" ? 1 + random.next() * 20 : random.next() * 3;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, timeline.nowMs) + ms;
    timeline.after(this.#busyUntilMs - timeline.nowMs, () => {
      if (!writer.alive) return;
      if (effect.kind === "record") this.#record(effect.record);
      else this.#publish(effect, writer);
    });
  }

  /** Runs when all that was asked for so far is done. */
  afterwards(run: () => void): void {
    this.#world.timeline.after(Math.max(0, this.#busyUntilMs - this.#world.timeline.nowMs), run);
  }

  /** A checkpoint that is written soon will find it full. */
  fill(fired: () => void): void {
    this.#full.push(fired);
  }

  /** Asked by everybody who writes a checkpoint. */
  isFull(): boolean {
    const fired = this.#full.shift();
    fired?.();
    return fired !== undefined;
  }

  /** Only what the newest checkpoint knows is left. Where the run goes on from. */
  rewind(first: Start): Start {
    const step = this.published.at(-1);
    const kept = this.records.filter((record) => step !== undefined && record.step <= step);
    this.records.splice(0, this.records.length, ...kept);
    if (step === undefined) return first;
    const validations = kept.filter((record) => record.kind === "validation");
    const last = kept.findLast((record) => record.kind === "step");
    return { kind: "checkpoint", step, path: "", validations, ...(last?.ledger && { ledger: last.ledger }) };
  }

  /** Does what was decided before a crash and had not happened, as the run directory does when it is opened. */
  settle(facts: Facts): void {
    const isKnown = ({ kind, step }: RunRecord): boolean =>
      this.records.some((each) => each.kind === kind && each.step === step);
    for (const record of keptRecords(facts)) {
      if (!isKnown(record)) this.#record(record);
    }
  }

  #record(record: RunRecord): void {
    this.#world.witness.recorded(record);
    this.records.push(record);
  }

  #publish(effect: Extract<Write, { kind: "publish" }>, writer: Writer): void {
    const { attempt, step, best } = effect;
    if (this.isFull()) {
      return writer.post({ kind: "unpublished", attempt, reason: "the disk is full", neededBytes: 1 });
    }
    this.#world.witness.publishes(effect);
    this.published.push(step);
    if (best !== null) this.best = best;
    writer.post({ kind: "published", attempt });
  }
}
