// The results of load tests as a table for people, and as an HTML page with plots that needs nothing else.

import { describeQuantity, significant } from "../cli/quantities.ts";
import type { LoadResult } from "./load-test.ts";
import { page, table, type Point } from "./page.ts";

const columns: readonly (readonly [string, (result: LoadResult) => string])[] = [
  ["workers", ({ workers }) => String(workers)],
  ["steps/s", ({ stepsPerSecond }) => significant(stepsPerSecond, 3)],
  ["commit p50", ({ commitMs }) => milliseconds(commitMs.p50)],
  ["p90", ({ commitMs }) => milliseconds(commitMs.p90)],
  ["p99", ({ commitMs }) => milliseconds(commitMs.p99)],
  ["max", ({ commitMs }) => milliseconds(commitMs.max)],
  ["cores", ({ coordinatorCores }) => significant(coordinatorCores, 2)],
  ["memory", ({ residentBytes }) => `${describeQuantity(residentBytes)}B`],
  ["memory/1000 steps", ({ residentBytesPerStep }) => `${signed(residentBytesPerStep * 1000)}B`],
  ["bytes/step", ({ bytesPerStep }) => `${describeQuantity(bytesPerStep)}B`],
  ["joined in", ({ joinSeconds }) => `${significant(joinSeconds, 2)} s`],
];

/** Right-aligned columns under their names, a line for each result. */
export function loadTable(results: readonly LoadResult[]): string {
  return table([columns.map(([name]) => name), ...results.map(cellsOf)]);
}

/** What was too short to be measured is a question mark. */
function cellsOf(result: LoadResult): string[] {
  return columns.map(([, cell]) => unknown(cell(result)));
}

function unknown(cell: string): string {
  return cell.includes("NaN") ? "?" : cell;
}

/** One self-contained page. */
export function loadPage(results: readonly LoadResult[], when: Date): string {
  const byWorkers = (pick: (result: LoadResult) => number): Point[] =>
    results.map((result) => ({ x: result.workers, y: pick(result) }));
  const plots = [
    {
      title: "Steps per second, by workers",
      logarithmicX: true,
      series: [{ name: "steps/s", points: byWorkers((result) => result.stepsPerSecond) }],
    },
    {
      title: "Commit latency in milliseconds, by workers",
      logarithmicX: true,
      series: [
        { name: "p50", points: byWorkers(({ commitMs }) => commitMs.p50) },
        { name: "p99", points: byWorkers(({ commitMs }) => commitMs.p99) },
      ],
    },
    {
      title: "Processor of the coordinator in cores, by workers",
      logarithmicX: true,
      series: [{ name: "cores", points: byWorkers((result) => result.coordinatorCores) }],
    },
    {
      title: "Resident memory of the coordinator in MB, by step; beside it, by workers, how it grows in 1,000 steps",
      logarithmicX: false,
      series: results.map(({ workers, memory, residentBytesPerStep }) => ({
        name: `${workers}: ${unknown(`${signed(residentBytesPerStep * 1000)}B`)}`,
        points: memory.map(({ step, residentBytes }) => ({ x: step, y: residentBytes / 1e6 })),
      })),
    },
  ];
  const steps = Math.max(...results.map((result) => result.steps));
  const explanation = `Workers are simulated: real gRPC streams that compute nothing, in one process that shares the machine
with the coordinator. Up to ${steps} steps of each run are measured, after a tenth as many that warm up. Commit latency is from the
last worker's vote to the commit's arrival at the last worker; bytes are what the coordinator sends and receives; the growth of its
memory is the slope of the least-squares line.`;
  const rows = [columns.map(([name]) => name), ...results.map(cellsOf)];
  return page({ title: "Load test of the coordinator", explanation, when, rows, plots });
}

function milliseconds(value: number): string {
  return `${significant(value, 3)} ms`;
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${describeQuantity(Math.abs(value))}`;
}
