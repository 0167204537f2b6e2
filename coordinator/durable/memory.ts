// A medium in memory: for tests and the simulation. Nothing in it survives its process, but several stores may be opened
// on the same contents, one after another, as a coordinator that starts again does; and what can go wrong with a disk or
// with etcd is made to happen here.

import type { Medium } from "./store.ts";

/**
 * What happens to a write. `written`: nothing goes wrong. `lost`: it fails, and nothing of it is there. `unknown`: it fails,
 * but all of it is there, as when the answer of etcd does not arrive.
 */
export type Fate = { readonly kind: "written" } | { readonly kind: "lost" | "unknown"; readonly error: Error };

export interface MemoryOptions {
  /** Shared by the stores of one run. */
  readonly contents?: Map<string, string>;
  /** Decides over each write, at its own time; left out, all succeed. `write` counts from 1. */
  readonly fate?: (write: number, values: ReadonlyMap<string, string>) => Fate | Promise<Fate>;
}

export function createMemoryMedium({ contents = new Map<string, string>(), fate }: MemoryOptions = {}): Medium {
  let writes = 0;
  return {
    name: "memory",
    readAll: async () => new Map(contents),
    async write(values) {
      const decided = (await fate?.(++writes, values)) ?? { kind: "written" };
      if (decided.kind !== "lost") values.forEach((text, key) => contents.set(key, text));
      if (decided.kind !== "written") throw decided.error;
    },
    close: async () => undefined,
  };
}
