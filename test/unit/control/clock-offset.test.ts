import { expect, test } from "vitest";
import { clockOffset } from "../../../worker/control/clock-offset.ts";

/** A worker whose clock is `aheadMs` ahead; the way there and back, and the coordinator in between, take so long. */
const measured = (aheadMs: number, thereMs: number, coordinatorMs: number, backMs: number) => {
  const arrivedMs = 1_700_000_000_000;
  const sentMs = arrivedMs + coordinatorMs;
  return clockOffset({
    joinedMs: arrivedMs - thereMs + aheadMs,
    arrivedMs,
    sentMs,
    welcomedMs: sentMs + backMs + aheadMs,
  });
};

test("the way and what the coordinator takes do not count where the way back is as long as the way there", () => {
  expect(measured(0, 5, 300, 5)).toEqual({ offsetSeconds: 0, roundTripSeconds: 0.01 });
  expect(measured(-2500, 40, 0, 40)).toEqual({ offsetSeconds: -2.5, roundTripSeconds: 0.08 });
});

test("where it is not, the offset is off by half the round trip at most", () => {
  for (const [there, back] of [
    [100, 0],
    [0, 100],
    [30, 70],
  ] as const) {
    const { offsetSeconds, roundTripSeconds } = measured(1234, there, 17, back);
    expect(roundTripSeconds).toBeCloseTo(0.1);
    expect(Math.abs(offsetSeconds - 1.234)).toBeLessThanOrEqual(roundTripSeconds / 2 + 1e-9);
  }
});
