// curve.svg: the losses of a run as a picture, with perplexity on the right and the learning rate below. A pure function
// of the records, readable on light and on dark pages. The only file that imports d3.

import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from "d3-scale";
import { line } from "d3-shape";
import { describeQuantity, significant } from "./cli/quantities.ts";
import { metricPanelHeight, renderMetricPanel } from "./metric-panel.ts";
import type { RunRecord, StepRecord, ValidationRecord } from "../common/records.ts";

interface Point {
  readonly x: number;
  readonly y: number;
}

const width = 960;
const height = 600;
/** Of the loss, and of the learning rate below it. */
const upper = { left: 72, right: 884, top: 106, bottom: 444 };
const lower = { ...upper, top: 482, bottom: 540 };
/** Of tasks with labels, below everything else. */
const labelled = { ...upper, top: 636, bottom: 772 };
/** More points than this are thinned out; the plot has no more pixels. */
const maxPoints = 1600;

/** Plain class rules rather than variables, which many viewers of SVG don't know. */
const style = (["light", "dark"] as const)
  .map((theme) => {
    const { back, ink, faint, grid, train, valid, rate } = {
      light: {
        back: "#fff",
        ink: "#1f2328",
        faint: "#656d76",
        grid: "#e4e7eb",
        train: "#3b6fd4",
        valid: "#d9480f",
        rate: "#2f8f5b",
      },
      dark: {
        back: "#0f1419",
        ink: "#e6edf3",
        faint: "#8d96a0",
        grid: "#262d36",
        train: "#7aa7ff",
        valid: "#ff9a5c",
        rate: "#63c58f",
      },
    }[theme];
    const rules = [
      `.back { fill: ${back}; } text { fill: ${ink}; } .faint { fill: ${faint}; } .grid { stroke: ${grid}; }`,
      `.axis { stroke: ${faint}; } .each, .smooth { stroke: ${train}; } .valid { stroke: ${valid}; }`,
      `.dot { fill: ${valid}; stroke: ${back}; } .mark { fill: ${valid}; stroke: ${back}; } .rate { stroke: ${rate}; }`,
    ].map((rule) => `    ${rule}`);
    return theme === "light" ? rules : ["    @media (prefers-color-scheme: dark) {", ...rules, "    }"];
  })
  .flat()
  .concat(
    `    text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }`,
    "    .title { font-size: 19px; font-weight: 600; }",
    "    path { fill: none; stroke-linejoin: round; stroke-linecap: round; }",
    "    .each { stroke-width: 1; opacity: 0.35; } .smooth, .valid { stroke-width: 2.25; } .rate { stroke-width: 1.75; }",
    "    .mark { font-weight: 600; stroke-width: 4; paint-order: stroke; stroke-linejoin: round; }",
  )
  .join("\n");

/**
 * An SVG of 960 by 600, of tasks with labels 200 higher. Of several records of one step (a resumed run) the last counts; values that are not finite are
 * left out.
 */
export function renderCurve(records: readonly RunRecord[]): string {
  const steps = lastOfEachStep(records.filter((record) => record.kind === "step"));
  const validations = lastOfEachStep(records.filter((record) => record.kind === "validation"));
  const train = finite(steps.map(({ step, loss }) => ({ x: step, y: loss })));
  const valid = finite(validations.map(({ step, loss }) => ({ x: step, y: loss })));
  const total = height + (isLabelled(validations) ? metricPanelHeight : 0);
  const body = train.length + valid.length === 0 ? empty() : plot(steps, validations, train, valid);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img" aria-label="Loss of the run, step by step">`,
    `  <style>\n${style}\n  </style>`,
    `  <rect width="${width}" height="${total}" class="back"/>`,
    ...body.map((element) => `  ${element}`),
    "</svg>\n",
  ].join("\n");
}

function plot(
  steps: readonly StepRecord[],
  validations: readonly ValidationRecord[],
  train: readonly Point[],
  valid: readonly Point[],
): string[] {
  const all = [...train, ...valid];
  const lastStep = [...steps, ...validations].reduce((most, { step }) => Math.max(most, step), 1);
  const x = scaleLinear([0, lastStep], [upper.left, upper.right]);
  const y = lossScale(all);
  const smooth = smoothed(train);
  const path = line<Point>(
    (point) => round(x(point.x)),
    (point) => round(y(point.y)),
  );
  const last = valid.at(-1);
  return [
    ...heading(steps, validations),
    ...legend(train.length > 0, valid.length > 0),
    ...lossAxis(y),
    ...(isLabelled(validations) ? [] : perplexityAxis(y)),
    ...stepAxis(x, steps.length > 1 ? lower.bottom : upper.bottom),
    ...stroke("each", path(thinned(train))),
    ...stroke("smooth", path(thinned(smooth))),
    ...stroke("valid", path(thinned(valid))),
    ...(valid.length > 60 ? valid.slice(-1) : valid).map(
      (point) => `<circle class="dot" cx="${round(x(point.x))}" cy="${round(y(point.y))}" r="4"/>`,
    ),
    ...(last && Number.isFinite(Math.exp(last.y)) && !isLabelled(validations)
      ? [lastMark(x(last.x), y(last.y), last.y)]
      : []),
    ...(steps.length > 1 ? rateStrip(steps, x) : []),
    ...renderMetricPanel(validations, x, labelled),
  ];
}

function heading(steps: readonly StepRecord[], validations: readonly ValidationRecord[]): string[] {
  const scored = validations.flatMap(({ metrics }) => metrics?.f1 ?? []);
  const known = isLabelled(validations) ? [] : validations.filter(({ perplexity }) => Number.isFinite(perplexity));
  const [first, last] = [known[0], known.at(-1)];
  const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
  const workers = steps.at(-1)?.worldSize;
  const facts = [
    ...(steps.length > 0 ? [`${describeQuantity(tokens)} ${isLabelled(validations) ? "targets" : "tokens"}`] : []),
    ...(workers === undefined ? [] : [workers === 1 ? "1 worker" : `${workers} workers`]),
    ...(first && last && first !== last
      ? [`validation perplexity ${significant(first.perplexity, 3)} → ${significant(last.perplexity, 3)}`]
      : []),
  ];
  if (scored.length > 1) {
    facts.push(`validation f1 ${(scored[0] ?? 0).toFixed(3)} → ${(scored.at(-1) ?? 0).toFixed(3)}`);
  }
  const count = Math.max(steps.at(-1)?.step ?? 0, validations.at(-1)?.step ?? 0);
  return [
    text("Loss over " + (count === 1 ? "1 step" : `${count} steps`), upper.left, 38, "title"),
    text(facts.join("  ·  "), upper.left, 63, "faint"),
  ];
}

function legend(hasTrain: boolean, hasValid: boolean): string[] {
  const entries = [
    ...(hasTrain ? [{ label: "training loss", css: "smooth" }] : []),
    ...(hasValid ? [{ label: "validation loss", css: "valid" }] : []),
  ];
  return entries.flatMap(({ label, css }, i) => {
    const left = upper.right - (entries.length - i) * 142 + 8;
    return [`<path class="${css}" d="M${left},59h22"/>`, text(label, left + 30, 63)];
  });
}

/** Linear, or logarithmic where the loss falls so far that a linear axis would hide its end. */
function lossScale(points: readonly Point[]): ScaleContinuousNumeric<number, number> {
  const low = points.reduce((least, { y }) => Math.min(least, y), Infinity);
  const high = points.reduce((most, { y }) => Math.max(most, y), -Infinity);
  const range = [upper.bottom, upper.top];
  if (low > 0 && high / low > 20) return scaleLog([low / 1.1, high * 1.1], range);
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return scaleLinear([Math.max(low - margin, low >= 0 ? 0 : -Infinity), high + margin], range);
}

function lossAxis(y: ScaleContinuousNumeric<number, number>): string[] {
  const few = y.ticks(6);
  // A logarithmic axis offers every digit; 1, 2 and 5 are enough.
  const ticks = few.length <= 10 ? few : few.filter((tick) => /^[125]/.test(tick.toExponential()));
  return [
    ...ticks.flatMap((tick) => {
      const at = round(y(tick));
      return [
        `<line class="grid" x1="${upper.left}" x2="${upper.right}" y1="${at}" y2="${at}"/>`,
        text(label(tick), upper.left - 10, at + 4.5, "faint", "end"),
      ];
    }),
    text("loss (nats per token)", upper.left, upper.top - 12, "faint", "start"),
  ];
}

/** The loss's own axis read as its exponential: 1, 2, 5, 10, 20, ... wherever there is room. */
function perplexityAxis(y: ScaleContinuousNumeric<number, number>): string[] {
  const [low = 0, high = 0] = y.domain();
  const candidates = Array.from({ length: 24 }, (_, i) => ([1, 2, 5][i % 3] ?? 1) * 10 ** Math.floor(i / 3));
  let free = Infinity;
  const ticks = candidates.flatMap((perplexity) => {
    const loss = Math.log(perplexity);
    if (loss < low || loss > high) return [];
    const at = round(y(loss));
    if (free - at < 22) return [];
    free = at;
    return [
      `<path class="axis" d="M${upper.right},${at}h5"/>`,
      text(describePerplexity(perplexity), upper.right + 10, at + 4.5, "faint"),
    ];
  });
  return ticks.length === 0 ? [] : [...ticks, text("perplexity", width - 12, upper.top - 12, "faint", "end")];
}

function stepAxis(x: ScaleContinuousNumeric<number, number>, bottom: number): string[] {
  const ticks = x.ticks(8).filter(Number.isInteger);
  return [
    `<path class="axis" d="M${upper.left},${bottom}H${upper.right}"/>`,
    ...ticks.flatMap((tick) => {
      const at = round(x(tick));
      return [
        `<path class="axis" d="M${at},${bottom}v5"/>`,
        text(tick >= 100_000 ? describeQuantity(tick) : String(tick), at, bottom + 21, "faint", "middle"),
      ];
    }),
    text("optimizer step", (upper.left + upper.right) / 2, bottom + 44, "faint", "middle"),
  ];
}

function rateStrip(steps: readonly StepRecord[], x: ScaleContinuousNumeric<number, number>): string[] {
  const points = finite(steps.map(({ step, learningRate }) => ({ x: step, y: learningRate })));
  const peak = points.reduce((most, point) => Math.max(most, point.y), 0);
  const y = scaleLinear([0, peak || 1], [lower.bottom, lower.top]);
  const path = line<Point>(
    (point) => round(x(point.x)),
    (point) => round(y(point.y)),
  );
  return [
    `<line class="grid" x1="${lower.left}" x2="${lower.right}" y1="${lower.top}" y2="${lower.top}"/>`,
    text(peak.toExponential(1), lower.left - 10, lower.top + 4.5, "faint", "end"),
    text("0", lower.left - 10, lower.bottom + 4.5, "faint", "end"),
    text("learning rate", lower.left, lower.top - 10, "faint"),
    ...stroke("rate", path(thinned(points))),
  ];
}

/** d3 gives null for a line without points. */
function stroke(css: string, d: string | null): string[] {
  return d === null ? [] : [`<path class="${css}" d="${d}"/>`];
}

/** The last perplexity, beside its point where there is room. */
function lastMark(x: number, y: number, loss: number): string {
  const above = y - 14 > upper.top + 10 ? y - 14 : y + 24;
  return text(`perplexity ${significant(Math.exp(loss), 3)}`, Math.min(x, upper.right - 4), above, "mark", "end");
}

function empty(): string[] {
  return [text("This run has no steps yet.", width / 2, height / 2, "faint", "middle")];
}

/** Exponential mean over both neighbourhoods of a point, so that it does not trail behind; half of it is within 0.7% of the run. */
function smoothed(points: readonly Point[]): Point[] {
  const decay = 0.5 ** (1 / Math.max(2, points.length / 150));
  const mean = (ordered: readonly Point[]): { sum: number; weight: number }[] => {
    let [sum, weight] = [0, 0];
    return ordered.map(({ y }) => ({ sum: (sum = sum * decay + y), weight: (weight = weight * decay + 1) }));
  };
  const before = mean(points);
  const after = mean(points.toReversed()).reverse();
  return points.map(({ x, y }, i) => {
    // Both sums hold the point itself.
    const sum = (before[i]?.sum ?? 0) + (after[i]?.sum ?? 0) - y;
    const weight = (before[i]?.weight ?? 0) + (after[i]?.weight ?? 0) - 1;
    return { x, y: sum / weight };
  });
}

/** Keeps the lowest and the highest of every group of neighbours, so that no spike is lost. */
function thinned(points: readonly Point[]): Point[] {
  const size = Math.ceil((2 * points.length) / maxPoints);
  if (size <= 2) return [...points];
  const kept: Point[] = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size);
    const low = group.reduce((a, b) => (b.y < a.y ? b : a));
    const high = group.reduce((a, b) => (b.y > a.y ? b : a));
    kept.push(...(low === high ? [low] : low.x < high.x ? [low, high] : [high, low]));
  }
  return kept;
}

function isLabelled(validations: readonly ValidationRecord[]): boolean {
  return validations.some(({ metrics }) => metrics !== undefined);
}

function lastOfEachStep<R extends RunRecord>(records: readonly R[]): R[] {
  return [...new Map(records.map((record) => [record.step, record])).values()].sort((a, b) => a.step - b.step);
}

function finite(points: readonly Point[]): Point[] {
  return points.filter(({ y }) => Number.isFinite(y));
}

function text(content: string, x: number, y: number, css = "", anchor: "start" | "middle" | "end" = "start"): string {
  return `<text x="${round(x)}" y="${round(y)}"${css && ` class="${css}"`} text-anchor="${anchor}">${content}</text>`;
}

function label(tick: number): string {
  return String(Number(tick.toPrecision(4)));
}

function describePerplexity(value: number): string {
  return value < 1e6 ? String(value) : describeQuantity(value);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
