// `ringtune bench allreduce`: real processes, a small table, and mistakes that are answered.

import { expect, test } from "vitest";
import { finish } from "../support/cli.ts";

test("bench allreduce prints a row for each size, and how the bytes travelled", async () => {
  const args = ["bench", "allreduce", "--ranks", "2", "--sizes", "64KB,1MB", "--iterations", "3"];
  const memory = await finish(args);
  expect(memory, memory.stderr).toMatchObject({ code: 0 });
  expect(memory.stdout).toMatch(/^shared memory of 2 ranks; medians of 3/);
  expect(memory.stdout).toMatch(/\n +64 KB +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +\d+ % +\d+\n +1 MB .*% +\d+\n$/);
  const tcp = await finish([...args, "--reach", "tcp"]);
  expect(tcp.stdout).toMatch(/^ring of 2 ranks;/);
});

test.each(["memory", "ipc", "tcp"])(
  "an all-reduce over %s takes less than one more copy of its buffer",
  async (reach) => {
    const args = ["bench", "allreduce", "--ranks", "2", "--sizes", "80MB", "--iterations", "2", "--reach", reach];
    const { stdout } = await finish(args);
    const extraMegabytes = Number(/80 MB .* % +(\d+)\n$/.exec(stdout)?.[1]);
    expect(extraMegabytes).toBeGreaterThan(0);
    expect(extraMegabytes).toBeLessThanOrEqual(80);
  },
);

test("bench allreduce refuses what is no size", async () => {
  const refused = await finish(["bench", "allreduce", "--sizes", "many"]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('"many" is no size such as 64KB or 10MB');
});
