// A panel of the curve for tasks with labels: accuracy and F1 of the validations, step by step, below the losses. Plain
// text of SVG in the classes of curve.ts; the scale is linear, from the tenth below the lowest value up to 1.

import type { ValidationRecord } from "../common/records.ts";

interface Panel {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** What is drawn, with its class. */
const lines = [
  { metric: "f1", css: "valid" },
  { metric: "accuracy", css: "rate" },
] as const;

/** Height that the panel adds to the picture. */
export const metricPanelHeight = 200;

/** `x` is the place of a step. Empty when no validation has metrics. */
export function renderMetricPanel(
  validations: readonly ValidationRecord[],
  x: (step: number) => number,
  panel: Panel,
): string[] {
  const points = validations.flatMap(({ step, metrics }) => (metrics === undefined ? [] : [{ step, metrics }]));
  if (points.length === 0) return [];
  const lowest = points.reduce((least, { metrics }) => Math.min(least, metrics.f1, metrics.accuracy), 0.9);
  const low = Math.floor(lowest * 10) / 10;
  const y = (value: number): number => round(panel.bottom - ((value - low) / (1 - low)) * (panel.bottom - panel.top));
  return [
    ...[low, (low + 1) / 2, 1].flatMap((tick) => [
      `<line class="grid" x1="${panel.left}" x2="${panel.right}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      text(String(round(tick)), panel.left - 10, y(tick) + 4.5, "faint", "end"),
    ]),
    ...lines.flatMap(({ metric, css }, i) => {
      const at = panel.left + 110 * i;
      const places = points.map(({ step, metrics }) => [round(x(step)), y(metrics[metric])] as const);
      const last = points.at(-1)?.metrics[metric] ?? 0;
      return [
        `<path class="${css}" d="M${at},${panel.top - 20}h22"/>`,
        text(metric, at + 30, panel.top - 16, "faint", "start"),
        `<path class="${css}" d="M${places.map((place) => place.join(",")).join("L")}"/>`,
        text(
          last.toFixed(3),
          panel.right + 8,
          Math.min(panel.bottom, y(last)) + 4.5 + 8 * (2 * i - 1),
          "faint",
          "start",
        ),
      ];
    }),
  ];
}

function text(content: string, x: number, y: number, css: string, anchor: "start" | "end"): string {
  return `<text x="${round(x)}" y="${round(y)}" class="${css}" text-anchor="${anchor}">${content}</text>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
