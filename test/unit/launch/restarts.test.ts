import { expect, test } from "vitest";
import { defaultRestartPolicy, Restarts } from "../../../coordinator/launch/restarts.ts";

const crashed = { code: 1, signal: null };
const killed = { code: null, signal: "SIGKILL" } as const;

test("a process that crashes is started again, later each time, and given up after five within ten minutes", () => {
  const restarts = new Restarts();
  const delays = [1000, 2000, 4000, 8000, 16000].map((expected, i) => {
    const decision = restarts.ended(i % 2 === 0 ? crashed : killed, i * 10_000);
    return [decision.kind === "again" ? decision.delayMs : decision.why, expected];
  });
  for (const [got, expected] of delays) expect(got).toBe(expected);
  expect(restarts.ended(killed, 60_000)).toEqual({ kind: "no", why: "it ended 6 times within 10 minutes" });
});

test("what happened more than ten minutes ago is forgotten", () => {
  const restarts = new Restarts({ ...defaultRestartPolicy, tries: 1 });
  expect(restarts.ended(crashed, 0)).toEqual({ kind: "again", delayMs: 1000, tries: "1 of 1" });
  expect(restarts.ended(crashed, 599_999).kind).toBe("no");
  expect(restarts.ended(crashed, 600_000).kind).toBe("again");
});

test("no delay is longer than half a minute", () => {
  const restarts = new Restarts({ ...defaultRestartPolicy, tries: 10 });
  const delays = Array.from({ length: 10 }, () => restarts.ended(crashed, 0));
  expect(delays.at(-1)).toMatchObject({ kind: "again", delayMs: 30_000 });
});

test.each([
  [0, "it was done (exit code 0)"],
  [2, "its command line or configuration is wrong (exit code 2)"],
  [3, "its numbers were not finite (exit code 3)"],
  [4, "it was refused, or its machine lacks what it takes (exit code 4)"],
  [130, "it was told to stop (exit code 130)"],
])("exit code %i says that it should not be started again", (code, why) => {
  expect(new Restarts().ended({ code, signal: null }, 0)).toEqual({ kind: "no", why });
});
