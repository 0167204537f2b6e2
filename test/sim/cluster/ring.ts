// The all-reduce among the members of a generation. It is through when all of them are in the same call and every link
// between neighbours carries; each then finishes at a time of its own. It breaks where a neighbour dies, closes its end or
// can't be reached for long, and a rank that breaks off closes its own links, so that the break goes round.

import type { Network } from "./network.ts";

/** Members of a generation call the same collectives in the same order. */
export interface Call {
  readonly generation: number;
  /** "form" or the step. */
  readonly what: string;
  /** In rank order. */
  readonly members: readonly string[];
}

interface Rank {
  readonly done: () => void;
  readonly broken: (reason: string) => void;
}

interface Collective extends Call {
  readonly waiting: Map<string, Rank>;
  readonly entered: Set<string>;
  /** All are in it: from now on each rank finishes unless it breaks. */
  complete: boolean;
}

/** ZeroMQ gives up a neighbour that does not answer. */
const SILENCE_MS = 10_000;

export class Ring {
  readonly #network: Network;
  readonly #calls = new Map<string, Collective>();
  /** Who has closed its end of a generation, so that a neighbour finds it closed. */
  readonly #left = new Map<number, Set<string>>();
  /** Looks at all members of a call that is through. */
  readonly #onComplete: (call: Call) => void;
  /** Calls that a cut has broken. */
  brokenByCut = 0;

  constructor(network: Network, onComplete: (call: Call) => void) {
    this.#network = network;
    this.#onComplete = onComplete;
  }

  enter(name: string, call: Call, rank: Rank): void {
    const key = keyOf(call);
    let collective = this.#calls.get(key);
    if (collective === undefined) {
      collective = { ...call, waiting: new Map(), entered: new Set(), complete: false };
      this.#calls.set(key, collective);
    }
    collective.waiting.set(name, rank);
    collective.entered.add(name);
    const left = this.#left.get(call.generation);
    const gone = left && this.#neighbours(call.members, name).find((other) => left.has(other));
    if (gone !== undefined && this.#carries(name, gone)) return this.#break(collective, name, `${gone} is gone`);
    this.#progress(collective);
    this.#watch(collective, name);
  }

  /** Whether a member hears another one of its generation. */
  between(name: string, other: string, generation: number): "open" | "cut" | "gone" {
    if (!this.#carries(name, other)) return "cut";
    return this.#left.get(generation)?.has(other) === true ? "gone" : "open";
  }

  /** A member closes its end of a generation: it died, broke off, or goes on to another. */
  leave(name: string, generation: number): void {
    if (generation === 0) return;
    const left = this.#left.get(generation) ?? new Set<string>();
    this.#left.set(generation, left.add(name));
    for (const [key, collective] of this.#calls) {
      if (collective.generation !== generation) continue;
      if (!collective.waiting.delete(name) && collective.entered.has(name)) continue;
      this.#tellNeighbours(collective, name);
      if (collective.waiting.size === 0) this.#calls.delete(key);
    }
  }

  /** Ways have changed. */
  healed(): void {
    for (const collective of this.#calls.values()) this.#progress(collective);
  }

  #progress(collective: Collective): void {
    const { members, entered } = collective;
    if (collective.complete || entered.size < members.length || collective.waiting.size < members.length) return;
    if (members.some((name, rank) => !this.#carries(name, members[(rank + 1) % members.length]!))) return;
    collective.complete = true;
    this.#onComplete(collective);
    for (const name of members) {
      this.#network.timeline.after(2 + this.#network.delayMs(), () => {
        const rank = collective.waiting.get(name);
        collective.waiting.delete(name);
        if (collective.waiting.size === 0) this.#calls.delete(keyOf(collective));
        rank?.done();
      });
    }
  }

  /** A neighbour that does not answer is given up after a while, as a rule: a link that never stood can't break. */
  #watch(collective: Collective, name: string): void {
    const { members } = collective;
    if (members.length < 2 || this.#network.random.next() < 0.2) return;
    const look = (): void => {
      if (!collective.waiting.has(name) || collective.complete) return;
      const silent = this.#neighbours(members, name).find((other) => !this.#carries(name, other));
      if (silent === undefined) return this.#network.timeline.after(SILENCE_MS, look);
      this.brokenByCut += 1;
      this.#break(collective, name, `lost its connection to ${silent}`);
    };
    this.#network.timeline.after(SILENCE_MS, look);
  }

  #break(collective: Collective, name: string, reason: string): void {
    const rank = collective.waiting.get(name);
    if (rank === undefined) return;
    this.#tellNeighbours(collective, name);
    collective.waiting.delete(name);
    this.leave(name, collective.generation);
    rank.broken(reason);
  }

  #tellNeighbours(collective: Collective, name: string): void {
    for (const other of this.#neighbours(collective.members, name)) {
      if (!collective.waiting.has(other) || !this.#carries(name, other)) continue;
      this.#network.timeline.after(this.#network.delayMs(), () =>
        this.#break(collective, other, `its connection to ${name} closed`),
      );
    }
  }

  #neighbours(members: readonly string[], name: string): string[] {
    const rank = members.indexOf(name);
    const around = [members[(rank + 1) % members.length]!, members[(rank + members.length - 1) % members.length]!];
    return [...new Set(around)].filter((other) => other !== name);
  }

  #carries(one: string, other: string): boolean {
    return this.#network.reaches(one, other) && this.#network.reaches(other, one);
  }
}

function keyOf({ generation, what }: Call): string {
  return `${generation} ${what}`;
}
