import { expect, test } from "vitest";
import { initialState, step } from "../../../coordinator/core/coordinator.ts";
import { beat, createPulse, limitsOf } from "../../../coordinator/core/detection.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import { job as coreJob } from "../../support/core-drive.ts";
import type { Effect, State } from "../../../coordinator/core/state.ts";

test("the limit follows the measured intervals: patient before any, strict after calm ones, patient again after wild ones", () => {
  const pulse = createPulse(0, 1000);
  expect(limitsOf(pulse)).toEqual({ suspectMs: 5000, deadMs: 11_000 });
  let now = 0;
  for (let i = 0; i < 60; i++) beat(pulse, (now += 1000), 1000);
  expect(limitsOf(pulse).deadMs).toBe(5000);
  expect(limitsOf(pulse).suspectMs).toBe(2000);
  for (let i = 0; i < 60; i++) beat(pulse, (now += i % 2 === 0 ? 200 : 3800), 1000);
  expect(pulse.meanMs).toBeGreaterThan(1500);
  expect(limitsOf(pulse).deadMs).toBeGreaterThan(15_000);
});

test("heartbeats that a cut connection held back, and that come all at once, do not make the limit stricter", () => {
  const pulse = createPulse(0, 1000);
  let now = 0;
  for (let i = 0; i < 60; i++) beat(pulse, (now += 1000), 1000);
  now += 4000;
  for (let i = 0; i < 60; i++) beat(pulse, (now += 1), 1000);
  expect(limitsOf(pulse).deadMs).toBeGreaterThanOrEqual(5000);
});

const job: Job = {
  ...coreJob,
  totalSamples: 32,
  samplesPerEpoch: 16,
  heartbeatMs: 1000,
  joinTimeoutMs: 1e6,
  stepTimeoutMs: 1e6,
};

/** Two workers that beat every second, listened to with ticks when the core asks for them. */
function listenToTwo() {
  let state: State = initialState(job, 0);
  const reasons: string[] = [];
  const effects: Effect[] = [];
  let now = 0;
  const post = (event: Parameters<typeof step>[2], at = now): void => {
    const decision = step(job, state, event, (now = at));
    state = decision.state;
    effects.push(...decision.effects);
    if (decision.reason !== "") reasons.push(decision.reason);
  };
  const beatOf = (id: string, count: number): void =>
    post({
      kind: "said",
      id,
      message: { kind: "heartbeat", value: { doing: "computing", inCollective: false, count } },
    });
  /** Time passes, with the ticks that the core wants. */
  const pass = (until: number): void => {
    while (state.tickMs <= until && state.phase !== "ended") post({ kind: "tick" }, Math.max(now, state.tickMs));
    now = until;
  };
  for (const id of ["w0", "w1"])
    post({ kind: "joined", worker: { id, host: "h", pid: 1, ringEndpoint: `tcp://${id}` } });
  for (let second = 1; second <= 60; second++) {
    pass(second * 1000);
    for (const id of ["w0", "w1"]) beatOf(id, second);
  }
  reasons.length = effects.length = 0;
  return { pass, beatOf, post, reasons, effects, status: () => state.members.map(({ id, status }) => [id, status]) };
}

test("a silent worker is suspected, then given up in a sentence with the numbers, and the others go on", () => {
  const run = listenToTwo();
  for (let second = 61; second <= 64; second++) {
    run.pass(second * 1000);
    run.beatOf("w0", second);
  }
  expect(run.status()).toEqual([
    ["w0", "healthy"],
    ["w1", "suspect"],
  ]);
  expect(run.reasons).toEqual([
    "worker w1 has not been heard for 2000 ms; its heartbeats came every 1000 ms (sd 42 ms), limit 2000 ms: healthy -> suspect",
  ]);
  run.pass(65_000);
  expect(run.status()).toEqual([["w0", "healthy"]]);
  expect(run.effects[0]).toMatchObject({ kind: "dismiss", to: "w1", code: "worker_lost" });
  expect(run.reasons[1]).toMatch(
    /^generation 1 -> 2 with 1 workers: lost worker w1 \(.*\): has not been heard for 5000 ms; its heartbeats came every 1000 ms .* limit 5000 ms$/,
  );
});

test("a suspect that is heard again is healthy", () => {
  const run = listenToTwo();
  run.pass(61_000);
  run.beatOf("w0", 61);
  run.pass(62_500);
  run.beatOf("w1", 61);
  expect(run.reasons.at(-1)).toBe("worker w1 is heard again after 2500 ms: suspect -> healthy");
  expect(run.status()[1]).toEqual(["w1", "healthy"]);
});

test("a coordinator that stood still, or whose clock jumped, does not hold its own absence against the workers", () => {
  const run = listenToTwo();
  run.post({ kind: "tick" }, 600_000);
  expect(run.status().length).toBe(2);
  expect(run.reasons).toEqual([expect.stringMatching(/^the coordinator stood still for \d+ ms/)]);
  run.beatOf("w0", 61);
  run.pass(604_500);
  expect(run.status()).toEqual([["w0", "suspect"]]);
});
