import { expect, test } from "vitest";
import { createWriteAhead } from "../../../coordinator/rpc/write-ahead.ts";
import type { Facts } from "../../../coordinator/durable/store.ts";

/** A store whose writes are let through by hand. */
function slowStore() {
  const writes: { readonly changes: Facts; done(): void; fail(error: Error): void }[] = [];
  const append = (changes: Facts): Promise<void> =>
    new Promise((resolve, reject) => writes.push({ changes, done: resolve, fail: reject }));
  return { store: { append, holds: () => true }, writes };
}

/** Until everything that can go on has gone on. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what follows from a decision leaves when it is written, in order; what waits is written at once", async () => {
  const { store, writes } = slowStore();
  const left: string[] = [];
  const ahead = createWriteAhead(store, () => left.push("failed"));
  ahead.pass({}, () => left.push("no facts"));
  expect(left).toEqual(["no facts"]);
  ahead.pass({ committed: 1 }, () => left.push("commit 1"));
  ahead.pass({}, () => left.push("after it"));
  ahead.pass({ committed: 2, saved: 1 }, () => left.push("commit 2"));
  ahead.pass({ committed: 3 }, () => left.push("commit 3"));
  await settled();
  expect(left).toEqual(["no facts"]);
  writes[0]!.done();
  await settled();
  expect(left).toEqual(["no facts", "commit 1"]);
  expect(writes.map(({ changes }) => changes)).toEqual([{ committed: 1 }, { committed: 3, saved: 1 }]);
  writes[1]!.done();
  await settled();
  expect(left).toEqual(["no facts", "commit 1", "after it", "commit 2", "commit 3"]);
  ahead.pass({}, () => left.push("nothing to wait for"));
  expect(left.at(-1)).toBe("nothing to wait for");
});

test("when a write fails nothing leaves any more, which is said once", async () => {
  const { store, writes } = slowStore();
  const left: string[] = [];
  const ahead = createWriteAhead(store, (error) => left.push((error as Error).message));
  ahead.pass({ committed: 1 }, () => left.push("commit 1"));
  ahead.pass({ committed: 2 }, () => left.push("commit 2"));
  writes[0]!.fail(new Error("no space"));
  await settled();
  ahead.pass({}, () => left.push("a heartbeat"));
  ahead.pass({ committed: 3 }, () => left.push("commit 3"));
  await settled();
  expect(left).toEqual(["no space"]);
  expect(writes).toHaveLength(1);
});

test("while another coordinator may lead, what changes no fact waits for a write, too, and never leaves if that fails", async () => {
  const { store, writes } = slowStore();
  let holds = false;
  const left: string[] = [];
  const ahead = createWriteAhead({ ...store, holds: () => holds }, (error) => left.push((error as Error).message));
  ahead.pass({}, () => left.push("a plan"));
  await settled();
  expect(left).toEqual([]);
  expect(writes.map(({ changes }) => changes)).toEqual([{}]);
  writes[0]!.done();
  await settled();
  expect(left).toEqual(["a plan"]);
  holds = true;
  ahead.pass({}, () => left.push("another"));
  expect(left).toEqual(["a plan", "another"]);
  holds = false;
  ahead.pass({}, () => left.push("a third"));
  await settled();
  writes[1]!.fail(new Error("another leads"));
  await settled();
  expect(left).toEqual(["a plan", "another", "another leads"]);
});
