import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RingtuneError } from "../../common/errors.ts";
import { createAdmission, type Admission } from "../../coordinator/rpc/admission.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";

let now = 0;
const judge = (token: string) =>
  token === "good"
    ? ({ kind: "valid" } as const)
    : token === "old"
      ? ({ kind: "expired", expiresMs: Date.parse("2026-01-01"), nowMs: Date.parse("2026-03-01") } as const)
      : ({ kind: "unknown" } as const);
const create = (encrypted = false): Admission =>
  createAdmission({ tokens: { judge }, run: "runs/a", encrypted, nowMs: () => now });

function refusalOf(admission: Admission, change: Record<string, unknown> = {}, peer = "10.0.0.5:4000"): string {
  const join = {
    protocolVersion: PROTOCOL_VERSION,
    workerId: "w9",
    joinToken: "good",
    host: "here",
    pid: 1,
    holding: null,
  };
  try {
    admission.check({ ...join, ringEndpoint: "tcp://10.0.0.5:1;host=5f", ...change }, peer);
    return "";
  } catch (error) {
    return `${(error as RingtuneError).code}: ${(error as RingtuneError).message}`;
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  now = Date.parse("2026-03-01T00:00:00Z");
});
afterEach(() => void vi.useRealTimers());

test("each refusal names its cause, and none the token", () => {
  const admission = create();
  expect(refusalOf(admission)).toBe("");
  expect(refusalOf(admission, { joinToken: "old" })).toBe(
    "unauthenticated: worker w9 from 10.0.0.5:4000 has a join token that expired at 2026-01-01T00:00:00.000Z, it is 2026-03-01T00:00:00.000Z now; make another: ringtune token runs/a",
  );
  expect(refusalOf(admission, { joinToken: "" })).toMatch(/w9 from 10\.0\.0\.5:4000 has no join token; start it with/);
  const wrong = refusalOf(admission, { joinToken: "guess-4711" });
  expect(wrong).toMatch(/^unauthenticated: worker w9 from 10\.0\.0\.5:4000 has a wrong join token/);
  expect(wrong).not.toContain("4711");
});

test("an address that fails too often is told so once per try, is no longer written down, and still gets in with a valid token", () => {
  const admission = create();
  for (let i = 0; i < 10; i++) expect(refusalOf(admission, { joinToken: "x" })).toContain("wrong join token");
  expect(admission.isNoise("10.0.0.5:9")).toBe(false);
  expect(refusalOf(admission, { joinToken: "old" }, "10.0.0.5:9")).toBe(
    "unauthenticated: 10.0.0.5 has failed to join 11 times within 60 s (10 are answered); wait 60 s",
  );
  expect(admission.isNoise("10.0.0.5:9")).toBe(true);
  expect(admission.isNoise("10.0.0.6:9")).toBe(false);
  expect(refusalOf(admission)).toBe("");
  now += 60_001;
  expect(admission.isNoise("10.0.0.5:9")).toBe(false);
  expect(refusalOf(admission, { joinToken: "x" })).toContain("wrong join token");
});

test("rings are encrypted all or none", () => {
  const curve = { ringEndpoint: "tcp://10.0.0.5:1;curve=rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7" };
  expect(refusalOf(create(true))).toMatch(
    /^unauthenticated: the ring of worker w9 is not encrypted, and this run's is/,
  );
  expect(refusalOf(create(true), curve)).toBe("");
  expect(refusalOf(create(false), curve)).toMatch(/the ring of worker w9 is encrypted, and this run's is not/);
});

test("who does not join gives way, to time and to those who come after", () => {
  const admission = create();
  const refused: string[] = [];
  const leave = [...Array(1024).keys()].map((i) =>
    admission.await(`10.0.0.5:${i}`, (error) => refused.push(`${i}: ${error.message}`)),
  );
  leave[0]?.();
  admission.await("10.0.0.6:1", () => refused.push("last"));
  expect(refused).toEqual([]);
  admission.await("10.0.0.6:2", () => refused.push("last"));
  expect(refused).toEqual(["1: more than 1024 sessions wait to join, and this one came first"]);
  leave[1]?.();
  vi.advanceTimersByTime(10_000);
  expect(refused).toHaveLength(1 + 1022 + 2);
  expect(refused[1]).toBe("2: 10.0.0.5:2 did not join within 10 s");
});
