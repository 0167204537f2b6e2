// The results of load tests as a table for people, and as an HTML page with plots that needs nothing else.

import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from "d3-scale";
import { line } from "d3-shape";
import { cpus } from "node:os";
import { describeQuantity, significant } from "../cli/quantities.ts";
import type { LoadResult } from "./load-test.ts";

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
  const rows = [columns.map(([name]) => name), ...results.map(cellsOf)];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return `${rows.map((row) => row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join("  ")).join("\n")}\n`;
}

/** What was too short to be measured is a question mark. */
function cellsOf(result: LoadResult): string[] {
  return columns.map(([, cell]) => cell(result)).map((cell) => (cell.includes("NaN") ? "?" : cell));
}

/** One self-contained page. */
export function loadPage(results: readonly LoadResult[], when: Date): string {
  const machine = `${cpus()[0]?.model ?? "unknown processor"}, ${cpus().length} cores, Node.js ${process.version}`;
  const byWorkers = (pick: (result: LoadResult) => number): Point[] =>
    results.map((result) => ({ x: result.workers, y: pick(result) }));
  const plots = [
    plot({
      title: "Steps per second, by workers",
      logarithmicX: true,
      series: [{ name: "steps/s", points: byWorkers((result) => result.stepsPerSecond) }],
    }),
    plot({
      title: "Commit latency in milliseconds, by workers",
      logarithmicX: true,
      series: [
        { name: "p50", points: byWorkers(({ commitMs }) => commitMs.p50) },
        { name: "p99", points: byWorkers(({ commitMs }) => commitMs.p99) },
      ],
    }),
    plot({
      title: "Resident memory of the coordinator in MB, by step",
      logarithmicX: false,
      series: results.map(({ workers, memory }) => ({
        name: `${workers} workers`,
        points: memory.map(({ step, residentBytes }) => ({ x: step, y: residentBytes / 1e6 })),
      })),
    }),
  ];
  const cells = (tag: string, row: readonly string[]): string => row.map((cell) => `<${tag}>${cell}</${tag}>`).join("");
  const body = results.map((result) => `<tr>${cells("td", cellsOf(result))}</tr>`).join("\n");
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Ringtune load test</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
svg { width: 100%; height: auto; margin: 0.5rem 0 1.5rem; }
svg text { font: 13px system-ui, sans-serif; fill: #555; }
</style>
<h1>Load test of the coordinator</h1>
<p>${when.toISOString()}; ${machine}. Workers are simulated: real gRPC streams that compute nothing, in one process that
shares the machine with the coordinator. Commit latency is from the last worker's vote to the commit's arrival at the last
worker.</p>
<table>
<tr>${cells(
    "th",
    columns.map(([name]) => name),
  )}</tr>
${body}
</table>
${plots.join("\n")}
</html>
`;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

interface PlotOptions {
  readonly title: string;
  readonly logarithmicX: boolean;
  readonly series: readonly { readonly name: string; readonly points: readonly Point[] }[];
}

const [width, height] = [860, 320];
const area = { left: 70, right: width - 130, top: 40, bottom: height - 40 };
const colours = ["#1b6ca8", "#d1495b", "#2e933c", "#8e5ba6", "#e08e00"];

function plot({ title, logarithmicX, series }: PlotOptions): string {
  const points = series.flatMap((one) => one.points).filter(({ y }) => Number.isFinite(y));
  const xs = points.map((point) => point.x);
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const domain = low < high ? [low, high] : [low / 2, high * 2 + 1];
  const x: ScaleContinuousNumeric<number, number> = (logarithmicX ? scaleLog() : scaleLinear())
    .domain(domain)
    .range([area.left, area.right]);
  const y = scaleLinear()
    .domain([0, Math.max(...points.map((point) => point.y)) * 1.08 || 1])
    .range([area.bottom, area.top]);
  const path = line<Point>(
    (point) => x(point.x),
    (point) => y(point.y),
  );
  const xTicks = logarithmicX ? [...new Set(xs)] : x.ticks(8);
  return [
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">`,
    `<text x="${area.left}" y="18" font-weight="600">${title}</text>`,
    ...y
      .ticks(5)
      .map(
        (tick) =>
          `<path d="M${area.left},${y(tick)}H${area.right}" stroke="#e5e5e5"/><text x="${area.left - 8}" y="${y(tick) + 4}" text-anchor="end">${describeTick(tick)}</text>`,
      ),
    ...xTicks.map(
      (tick) => `<text x="${x(tick)}" y="${area.bottom + 20}" text-anchor="middle">${describeTick(tick)}</text>`,
    ),
    ...series.flatMap(({ name, points: own }, i) => {
      const colour = colours[i % colours.length];
      const marks =
        own.length > 20 ? [] : own.map((p) => `<circle cx="${x(p.x)}" cy="${y(p.y)}" r="3.5" fill="${colour}"/>`);
      return [
        `<path d="${path(own) ?? ""}" fill="none" stroke="${colour}" stroke-width="1.8"/>`,
        ...marks,
        `<text x="${area.right + 12}" y="${area.top + 18 * i}" style="fill:${colour}">${name}</text>`,
      ];
    }),
    "</svg>",
  ].join("\n");
}

function describeTick(value: number): string {
  return value >= 10_000 ? describeQuantity(value) : String(Number(value.toPrecision(3)));
}

function milliseconds(value: number): string {
  return `${significant(value, 3)} ms`;
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${describeQuantity(Math.abs(value))}`;
}
