import { expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import type { FromCoordinator } from "../../../proto/messages.ts";
import { TaskQueue } from "../../../worker/train/task-queue.ts";

const plan = (step: number): FromCoordinator => ({
  kind: "plan",
  value: {
    ...{ generation: 1, step, shard: null, microbatch: 1, globalTokens: 1, learningRates: [1], clip: 0 },
    ...{ verify: false, firstRow: 0, batchRows: 1 },
  },
});
const commit = (step: number): FromCoordinator => ({ kind: "commit", value: { generation: 1, step } });
const form = (generation: number, step: number): FromCoordinator => ({
  kind: "form",
  value: { generation, step, rank: 0, members: [], localWorldSize: 1, measureLinks: false, held: {} },
});

const { signal } = new AbortController();

test("gives tasks in the order in which they came", async () => {
  const queue = new TaskQueue();
  queue.push(plan(1));
  queue.push(plan(2));
  expect((await queue.next()).task).toEqual(plan(1));
  expect((await queue.next()).task).toEqual(plan(2));
});

test("a commit overtakes the plans that are queued", async () => {
  const queue = new TaskQueue();
  queue.push(plan(1));
  await queue.next();
  const committed = queue.commit(1, signal);
  queue.push(plan(2));
  queue.push(commit(1));
  await committed;
});

test("a commit that came before it is waited for is not missed", async () => {
  const queue = new TaskQueue();
  queue.push(commit(1));
  await queue.commit(1, signal);
});

test("a new generation drops the plans before it and aborts the one under way", async () => {
  const queue = new TaskQueue();
  queue.push(plan(1));
  queue.push(plan(2));
  const { signal } = await queue.next();
  const committed = queue.commit(1, signal);
  queue.push(form(2, 0));
  await expect(committed).rejects.toThrow("generation 2 takes over");
  expect(signal.aborted).toBe(true);
  expect((await queue.next()).task).toEqual(form(2, 0));
});

test("a commit that is first waited for when its generation is over is not waited for", async () => {
  const queue = new TaskQueue();
  queue.push(plan(2));
  const { signal } = await queue.next();
  queue.push(form(2, 1));
  await expect(queue.commit(2, signal)).rejects.toThrow("generation 2 takes over");
});

test("a commit that a new generation counts on is not waited for", async () => {
  const queue = new TaskQueue();
  queue.push(plan(2));
  const { signal } = await queue.next();
  queue.push(form(2, 2));
  await queue.commit(2, signal);
});

test("what was planned for a generation whose ring broke is not done: not what waits, nor what still comes", async () => {
  const queue = new TaskQueue();
  queue.push(plan(1));
  queue.push(plan(2));
  await queue.next();
  queue.abandonGeneration();
  queue.push(plan(3));
  queue.push(form(2, 0));
  queue.push(plan(1));
  expect((await queue.next()).task).toEqual(form(2, 0));
  expect((await queue.next()).task).toEqual(plan(1));
});

test("a commit that came just before a new generation still counts", async () => {
  const queue = new TaskQueue();
  const committed = queue.commit(1, signal);
  queue.push(commit(1));
  queue.push(form(2, 1));
  await committed;
});

test("closing wakes whoever waits for a task, with the reason", async () => {
  const queue = new TaskQueue();
  const next = queue.next();
  queue.close(new RingtuneError("worker_lost", "the coordinator is gone"));
  await expect(next).rejects.toThrow("the coordinator is gone");
});

test("the coordinator's farewell is heard even if the connection closes right after it", async () => {
  const queue = new TaskQueue();
  const finish: FromCoordinator = { kind: "finish", value: { reason: "done", drained: false } };
  queue.push(finish);
  queue.close(new RingtuneError("worker_lost", "the coordinator is gone"));
  expect((await queue.next()).task).toEqual(finish);
});

test("refuses to queue without bound", async () => {
  const queue = new TaskQueue();
  for (let step = 1; step <= 65; step++) queue.push(plan(step));
  await expect(queue.next()).rejects.toThrow("64 tasks are queued, limit 64");
});
