import { expect, test } from "vitest";
import { slope, type LoadResult } from "../../../coordinator/load/load-test.ts";
import { loadPage, loadTable } from "../../../coordinator/load/report.ts";

const result: LoadResult = {
  workers: 8,
  steps: 90,
  computeMs: 0,
  joinSeconds: 1.5,
  stepsPerSecond: 120.4,
  commitMs: { p50: 3.21, p90: 5, p99: 12.34, max: 20 },
  coordinatorCores: 0.5,
  residentBytes: 150e6,
  residentBytesPerStep: -200,
  bytesPerStep: 4000,
  memory: [
    { step: 0, residentBytes: 149e6 },
    { step: 90, residentBytes: 150e6 },
  ],
};

test("the slope is that of the least-squares line", () => {
  expect(
    slope([
      [0, 1],
      [1, 3],
      [2, 5],
    ]),
  ).toBeCloseTo(2);
  expect(
    slope([
      [0, 0],
      [1, 1],
      [2, 0],
      [3, 1],
    ]),
  ).toBeCloseTo(0.2);
});

test("the table has a line for each run, and a question mark for what was too short to measure", () => {
  const lines = loadTable([result, { ...result, workers: 64, coordinatorCores: NaN }])
    .trimEnd()
    .split("\n");
  expect(lines[0]).toMatch(/^workers +steps\/s +commit p50 +p90 +p99/);
  expect(lines[1]!.trim().split(/ {2,}/)).toEqual([
    ...["8", "120", "3.21 ms", "5.00 ms", "12.3 ms", "20.0 ms", "0.50", "150.0MB", "-200.0kB", "4.0kB", "1.5 s"],
  ]);
  expect(lines[2]!.trim().split(/ {2,}/)[6]).toBe("?");
});

test("the page plots every run and needs nothing from elsewhere", () => {
  const page = loadPage([result, { ...result, workers: 256 }], new Date(0));
  expect(page.match(/<svg/g)?.length).toBe(4);
  expect(page).toContain(">256: -200.0kB<");
  expect(page).not.toMatch(/NaN|undefined|https?:\/\//);
});
