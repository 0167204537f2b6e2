import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { LoadResult } from "../../coordinator/load/load-test.ts";
import { finish, temporaryFolder } from "../support/cli.ts";

test("simulated workers step against a real coordinator, and the results are a table, JSON and a page", async () => {
  const out = await temporaryFolder();
  const run = await finish(["bench", "load", "--workers", "2,12", "--steps", "40", "--compute-ms", "20", "--out", out]);
  expect(run, run.stderr).toMatchObject({ code: 0, stderr: "" });
  expect(run.stdout.trim().split("\n").length).toBe(4);
  const results = JSON.parse(await readFile(join(out, "load.json"), "utf8")) as LoadResult[];
  expect(results.map(({ workers, steps }) => [workers, steps])).toEqual([
    [2, 36],
    [12, 36],
  ]);
  for (const { stepsPerSecond, commitMs, residentBytes, bytesPerStep } of results) {
    // A step takes 20 ms of computation at least.
    expect(stepsPerSecond).toBeGreaterThan(0);
    expect(stepsPerSecond).toBeLessThan(50);
    expect(commitMs.p50).toBeGreaterThan(0);
    expect(commitMs.p99).toBeGreaterThanOrEqual(commitMs.p50);
    expect(residentBytes).toBeGreaterThan(30e6);
    expect(bytesPerStep).toBeGreaterThan(100);
  }
  expect(await readFile(join(out, "load.html"), "utf8")).toContain("<svg");
});

test("a wrong list of workers is refused", async () => {
  const run = await finish(["bench", "load", "--workers", "8,many"]);
  expect(run).toMatchObject({ code: 2 });
  expect(run.stderr).toContain("give whole numbers from 1 to 4096, such as 8,64,256");
});
