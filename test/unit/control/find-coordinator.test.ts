import { expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { findCoordinator, isPassing, startingAfter } from "../../../worker/control/find-coordinator.ts";

const { signal } = new AbortController();

test("goes round the addresses until one takes it, whatever passes elsewhere", async () => {
  const called: string[] = [];
  const answers = ["unavailable", "worker_lost", "timed_out", "unavailable"] as const;
  const found = await findCoordinator({
    addresses: ["a:1", "b:2"],
    withinMs: 60_000,
    attempt(address) {
      const code = answers[called.push(address) - 1];
      return code === undefined ? Promise.resolve(address) : Promise.reject(new RingtuneError(code, "not now"));
    },
    isPassing,
    signal,
  });
  expect(found).toBe("a:1");
  expect(called).toEqual(["a:1", "b:2", "a:1", "b:2", "a:1"]);
});

test.each(["unauthenticated", "protocol_mismatch", "cancelled", "usage"] as const)(
  "does not call again after %s",
  async (code) => {
    let calls = 0;
    const attempt = (): Promise<never> => {
      calls += 1;
      return Promise.reject(new RingtuneError(code, "refused for good"));
    };
    const search = { addresses: ["a:1", "b:2"], withinMs: 60_000, attempt, isPassing, signal };
    await expect(findCoordinator(search)).rejects.toMatchObject({ code, message: "refused for good" });
    expect(calls).toBe(1);
  },
);

test("begins with the address after the one that was lost", () => {
  const addresses = ["a:1", "b:2", "c:3"];
  expect(startingAfter(undefined, addresses)).toEqual(addresses);
  expect(startingAfter("a:1", addresses)).toEqual(["b:2", "c:3", "a:1"]);
  expect(startingAfter("c:3", addresses)).toEqual(addresses);
  expect(startingAfter("a:1", ["a:1"])).toEqual(["a:1"]);
});

test("throws what the last one said when the time is over, and the reason when nobody needs to be found any more", async () => {
  const attempt = (address: string): Promise<never> =>
    Promise.reject(new RingtuneError("unavailable", `${address} does not lead`));
  const search = { addresses: ["a:1", "b:2"], attempt, isPassing, signal };
  await expect(findCoordinator({ ...search, withinMs: 1 })).rejects.toThrow("b:2 does not lead");
  const leave = new AbortController();
  const found = findCoordinator({ ...search, withinMs: 60_000, signal: leave.signal });
  leave.abort(new RingtuneError("cancelled", "stopped by SIGTERM"));
  await expect(found).rejects.toThrow("stopped by SIGTERM");
});
