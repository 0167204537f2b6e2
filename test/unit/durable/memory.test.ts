// The faults of the medium in memory, and what a durable store makes of a write that fails.

import { expect, test } from "vitest";
import { createMemoryMedium, type Fate } from "../../../coordinator/durable/memory.ts";
import { createDurableStore } from "../../../coordinator/durable/store.ts";

const error = new Error("the disk is full");

test.each([
  ["lost", { committed: 1 }],
  ["unknown", { committed: 2, generation: 5 }],
] as const)(
  "refuses all that comes after a write that is %s, and the next store finds a whole entry",
  async (kind, left) => {
    const contents = new Map<string, string>();
    const fate = (write: number): Fate => (write === 2 ? { kind, error } : { kind: "written" });
    const store = createDurableStore(createMemoryMedium({ contents, fate }));
    await store.load();
    await store.append({ committed: 1 });
    const failing = store.append({ committed: 2, generation: 5 });
    await expect(failing).rejects.toBe(error);
    await expect(store.append({ committed: 3 })).rejects.toBe(error);
    await store.close();
    expect(await createDurableStore(createMemoryMedium({ contents })).load()).toEqual(left);
  },
);

test("does not report an entry before the one in front of it, however long that takes", async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const fate = async (write: number): Promise<Fate> => {
    if (write === 1) await gate;
    return { kind: "written" };
  };
  const store = createDurableStore(createMemoryMedium({ fate }));
  await store.load();
  const order: number[] = [];
  const first = store.append({ a: 1 }).then(() => order.push(1));
  await Promise.resolve();
  const second = store.append({ b: 2 }).then(() => order.push(2));
  release();
  await Promise.all([first, second]);
  expect(order).toEqual([1, 2]);
});
