import { expect, test } from "vitest";
import { ProgramCache } from "../../../worker/engine/onnx/program-cache.ts";
import type { Program } from "../../../worker/engine/onnx/runtime.ts";

function recordingCache(capacity: number): { cache: ProgramCache<"a">; loaded: string[]; closed: string[] } {
  const loaded: string[] = [];
  const closed: string[] = [];
  const load = async (rows: number, length: number): Promise<Program> => {
    const name = `${rows}x${length}`;
    loaded.push(name);
    return {
      run: async () => undefined,
      compute: async () => ({}),
      close: async () => {
        closed.push(name);
      },
    };
  };
  return { cache: new ProgramCache(load, capacity), loaded, closed };
}

const nothing = async (): Promise<void> => undefined;

test("loads a program once for each shape", async () => {
  const { cache, loaded } = recordingCache(2);
  await Promise.all([cache.use(1, 8, "a", nothing), cache.use(1, 8, "a", nothing)]);
  await cache.use(2, 8, "a", nothing);
  await cache.use(1, 8, "a", nothing);
  expect(loaded).toEqual(["1x8", "2x8"]);
});

test("closes the program that was used longest ago when there are too many", async () => {
  const { cache, closed } = recordingCache(2);
  for (const rows of [1, 2, 1, 3]) await cache.use(rows, 8, "a", nothing);
  expect(closed).toEqual(["2x8"]);
  expect(cache.size).toBe(2);
  await cache.close();
  expect(closed.toSorted()).toEqual(["1x8", "2x8", "3x8"]);
});

test("does not close a program that is running", async () => {
  const { cache, closed } = recordingCache(1);
  await cache.use(1, 8, "a", async () => {
    await cache.use(2, 8, "a", nothing);
    expect(closed).toEqual(["2x8"]);
  });
  expect(cache.size).toBe(1);
});

test("tries again after a program failed to load", async () => {
  let attempts = 0;
  const cache = new ProgramCache<"a">(async () => {
    if (attempts++ === 0) throw new Error("no memory");
    return { run: nothing, compute: async () => ({}), close: nothing };
  });
  await expect(cache.use(1, 8, "a", nothing)).rejects.toThrow("no memory");
  await cache.use(1, 8, "a", nothing);
  expect(attempts).toBe(2);
});
