// Programs by batch shape and kind, the least recently used dropped when there are too many. A program is closed only
// when nobody runs it.

import type { Program } from "./runtime.ts";

interface Entry<P> {
  readonly program: Promise<P>;
  users: number;
}

const defaultCapacity = 12;

export class ProgramCache<Kind extends string, P extends Pick<Program, "close"> = Program> {
  readonly #load: (rows: number, length: number, kind: Kind) => Promise<P>;
  readonly #capacity: number;
  readonly #entries = new Map<string, Entry<P>>();

  constructor(load: (rows: number, length: number, kind: Kind) => Promise<P>, capacity = defaultCapacity) {
    this.#load = load;
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Runs `body` with the program, loading it first if it is not there. */
  async use<T>(rows: number, length: number, kind: Kind, body: (program: P) => Promise<T>): Promise<T> {
    const key = `${rows}x${length} ${kind}`;
    const entry = this.#entries.get(key) ?? { program: this.#load(rows, length, kind), users: 0 };
    entry.users++;
    this.#entries.delete(key);
    this.#entries.set(key, entry); // The last in the map is the most recently used.
    try {
      return await body(await entry.program);
    } catch (error) {
      if ((await settled(entry.program)) === undefined) this.#entries.delete(key);
      throw error;
    } finally {
      entry.users--;
      await this.#evict();
    }
  }

  async close(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) await (await settled(entry.program))?.close();
  }

  async #evict(): Promise<void> {
    for (const [key, entry] of [...this.#entries]) {
      if (this.#entries.size <= this.#capacity) return;
      if (entry.users > 0) continue;
      this.#entries.delete(key);
      await (await settled(entry.program))?.close();
    }
  }
}

async function settled<P>(program: Promise<P>): Promise<P | undefined> {
  return program.catch(() => undefined);
}
