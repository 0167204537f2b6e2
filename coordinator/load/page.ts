// Plots and pages of measurements: SVG in one self-contained HTML file that needs nothing else. What is measured is not known here.

import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from "d3-scale";
import { line } from "d3-shape";
import { cpus } from "node:os";
import { describeQuantity } from "../cli/quantities.ts";

export interface PageOptions {
  readonly title: string;
  /** HTML: how it was measured. */
  readonly explanation: string;
  readonly when: Date;
  /** Of the table, the names first. */
  readonly rows: readonly (readonly string[])[];
  readonly plots: readonly PlotOptions[];
}

export function page({ title, explanation, when, rows, plots }: PageOptions): string {
  const machine = `${cpus()[0]?.model ?? "unknown processor"}, ${cpus().length} cores, Node.js ${process.version}`;
  const line = (row: readonly string[], tag: string): string =>
    `<tr>${row.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Ringtune: ${title}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; }
td { white-space: nowrap; }
div { overflow-x: auto; }
svg { width: 100%; height: auto; margin: 0.5rem 0 1.5rem; }
svg text { font: 13px system-ui, sans-serif; fill: #555; }
</style>
<h1>${title}</h1>
<p>${when.toISOString()}; ${machine}. ${explanation}</p>
<div><table>
${rows.map((row, index) => line(row, index === 0 ? "th" : "td")).join("\n")}
</table></div>
${plots.map(plot).join("\n")}
</html>
`;
}

/** Right-aligned columns under their names. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return `${rows.map((row) => row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join("  ")).join("\n")}\n`;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlotOptions {
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
  // Workers and steps are whole.
  const xTicks = logarithmicX ? [...new Set(xs)] : x.ticks(8).filter(Number.isInteger);
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
