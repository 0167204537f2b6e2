// The medium of the coordinator's durable store: it takes a while, it can fail, and when the process dies in the middle of a
// write, that write is there as a whole or not at all. The store over it is the real one.

import { RingtuneError } from "../../../common/errors.ts";
import type { Random } from "../../../common/random.ts";
import { createMemoryMedium, type Fate } from "../../../coordinator/durable/memory.ts";
import { createDurableStore, type DurableStore } from "../../../coordinator/durable/store.ts";
import type { Timeline } from "./timeline.ts";

export class SimulatedStore {
  readonly #timeline: Timeline;
  readonly #stir: () => void;
  readonly #random: Random;
  readonly #contents = new Map<string, string>();
  #underWay: ((fate: Fate) => void) | undefined;
  #failure: { readonly kind: "lost" | "unknown"; readonly fired: () => void } | undefined;
  #slowness = 1;
  /** Writes that took effect, or did not, when the process died before it was told. */
  readonly torn = { kept: 0, dropped: 0 };

  /** `stir` is called when a promise is about to be kept. */
  constructor(timeline: Timeline, random: Random, stir: () => void) {
    this.#timeline = timeline;
    this.#stir = stir;
    this.#random = random;
  }

  /** As a process opens it that starts. */
  open(): DurableStore {
    const fate = (): Promise<Fate> =>
      new Promise((resolve) => {
        this.#underWay = resolve;
        const ms = (0.5 + this.#random.next() * 6) * this.#slowness;
        this.#timeline.after(ms, () => {
          if (this.#underWay !== resolve) return;
          this.#underWay = undefined;
          this.#stir();
          resolve(this.#decide());
        });
      });
    return createDurableStore(createMemoryMedium({ contents: this.#contents, fate }));
  }

  /** The process is gone. True if a write was under way. */
  crash(): boolean {
    const resolve = this.#underWay;
    if (resolve === undefined) return false;
    this.#underWay = undefined;
    this.#stir();
    const isKept = this.#random.next() < 0.5;
    this.torn[isKept ? "kept" : "dropped"] += 1;
    resolve({ kind: isKept ? "unknown" : "lost", error: new RingtuneError("internal", "the process is gone") });
    return true;
  }

  /** The next write fails. */
  failNext(fired: () => void): void {
    this.#failure = { kind: this.#random.next() < 0.5 ? "lost" : "unknown", fired };
  }

  /** Writes take so many times as long. */
  slowDown(slowness: number): void {
    this.#slowness = slowness;
  }

  #decide(): Fate {
    const failure = this.#failure;
    if (failure === undefined) return { kind: "written" };
    this.#failure = undefined;
    failure.fired();
    return { kind: failure.kind, error: new RingtuneError("disk_failed", "the disk does not answer") };
  }
}
