// Writes down what was decided before anybody hears of it. Decisions go on meanwhile; what follows from them leaves in
// order, each once its facts, and all before, are on stable storage:
//
//     decided    d1   d2 d3   d4                 d2 and d3 wait for the write of d1, and are then written as one
//     written    |--- d1 ---||--- d2 d3 ---||--- d4 ---|
//     leaves                d1            d2 d3        d4
//
// A decision that changes no fact costs no write, but never overtakes. Where another coordinator may have been elected, it
// waits for a write, too: one that fails if so.

import type { DurableStore, Facts, Json } from "../durable/store.ts";

export interface WriteAhead {
  /** Calls `release` when `changes` are kept, at once when there is nothing to wait for. */
  pass(changes: Facts, release: () => void): void;
}

/** `failed` is called once, when the store fails: nothing leaves any more. */
export function createWriteAhead(
  store: Pick<DurableStore, "append" | "holds">,
  failed: (error: unknown) => void,
): WriteAhead {
  let waiting: { readonly changes: Facts; readonly release: () => void }[] = [];
  let isWriting = false;

  async function write(): Promise<void> {
    isWriting = true;
    while (waiting.length > 0) {
      const taken = waiting;
      waiting = [];
      const changes = Object.assign({}, ...taken.map((each) => each.changes)) as Record<string, Json>;
      if (Object.keys(changes).length > 0 || !store.holds()) await store.append(changes);
      for (const { release } of taken) release();
    }
    isWriting = false;
  }

  return {
    pass(changes, release) {
      if (!isWriting && Object.keys(changes).length === 0 && store.holds()) return release();
      waiting.push({ changes, release });
      if (!isWriting) write().catch(failed);
    },
  };
}
