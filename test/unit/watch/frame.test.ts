import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunRecord, StepRecord } from "../../../common/records.ts";
import { plain } from "../../../coordinator/cli/colors.ts";
import { frame } from "../../../coordinator/watch/frame.ts";
import { growingRecords } from "../../../coordinator/watch/growing-records.ts";
import { sparkline } from "../../../coordinator/watch/sparkline.ts";
import type { RunStatus } from "../../../proto/admin.ts";
import { temporaryFolder } from "../../support/cli.ts";

test("a sparkline is as high as the means of its groups", () => {
  expect(sparkline([8, 8, 4, 4, 1, 1], 3)).toBe("█▄▁");
  expect(sparkline([1, 2], 10)).toBe("▁█");
  expect(sparkline([3, 3, 3], 3)).toBe("▁▁▁");
  expect(sparkline([NaN, Infinity, 2, 1], 4)).toBe("█▁");
  expect(sparkline([], 4)).toBe("");
});

const stepRecord = (step: number, loss: number): StepRecord => ({
  ...{ kind: "step", step, epoch: 0.1, loss, learningRate: 0.001, gradientNorm: 1.25, samples: 8, tokens: 1000 },
  seconds: { data: 0, compute: 0.4, allReduce: 0.05, commit: 0.01, total: 0.5 },
  ...{ allReduceBytes: 0, busBandwidth: 0, worldSize: 2, generation: 2, timeMs: 0 },
});

const worker = (id: string, status: string, rank: number) =>
  ({
    id,
    host: "node1",
    pid: 7,
    status,
    rank,
    doing: "computing step 3",
    silentSeconds: 0.25,
    limitSeconds: 5,
    lagSeconds: 0.012,
  }) as never;

const status: RunStatus = {
  ...{ run: "run1", phase: "running", generation: 2, step: 2, totalSteps: 10, saved: 0 },
  workers: [worker("w0", "healthy", 0), worker("w10", "suspect", 1)],
  dead: ["worker w9 (rank 2, host node1, pid 9): its connection closed"],
  ...{ joinCommand: "", ledger: null, standbys: [], links: [], measuresLinks: false },
};

test("a frame shows how far the run is, its speed, its loss, and each worker in columns", () => {
  const lines = frame(status, [stepRecord(1, 4), stepRecord(2, 3)], 100, plain);
  expect(lines[0]).toBe("run1: running, generation 2, 2 workers, checkpoint of step 0");
  expect(lines[1]).toBe("██████░░░░░░░░░░░░░░░░░░░░░░░░ step 2/10  2.0k tokens/s  2.00 steps/s  ETA 4s");
  expect(lines[2]).toBe("loss 3.0000  grad 1.25  lr 1.00e-3  █▁");
  expect(lines.slice(4)).toEqual([
    "worker  state    rank  host   heard  late  doing",
    "w0      healthy  0     node1  0.3s   12ms  computing step 3",
    "w10     suspect  1     node1  0.3s   12ms  computing step 3",
    "dead: worker w9 (rank 2, host node1, pid 9): its connection closed",
  ]);
});

test("no line is wider than the terminal", () => {
  const lines = frame(status, [stepRecord(1, 4), stepRecord(2, 3)], 40, plain);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40);
});

test("growing records are read once each, without the torn end, and anew when the file became shorter", async () => {
  const path = join(await temporaryFolder(), "metrics.jsonl");
  const records = growingRecords(path);
  expect(await records()).toEqual([]);
  const line = (step: number): string => `${JSON.stringify({ kind: "step", step })}\n`;
  await writeFile(path, `${line(1)}${line(2)}{"kind":"st`);
  const steps = async (): Promise<number[]> => (await records()).map((record: RunRecord) => record.step);
  expect(await steps()).toEqual([1, 2]);
  await appendFile(path, 'ep","step":3}\n');
  expect(await steps()).toEqual([1, 2, 3]);
  await writeFile(path, line(1));
  expect(await steps()).toEqual([1]);
});
