// Which label is taken for which: counts by the true label (rows) and the one that the model said (columns), and tables of
// them for people. Of models that say exactly one label for each target.

import type { ClassScore, MetricValues } from "../../common/evaluation/scoring.ts";
import { argmax } from "./label-predictions.ts";

export class ConfusionMatrix {
  /** [true label][said label] */
  readonly counts: number[][];

  constructor(labels: number) {
    this.counts = Array.from({ length: labels }, () => new Array<number>(labels).fill(0));
  }

  /** Adds a batch: logits [targets, labels] and the targets, -100 where there is none. */
  add(logits: Float32Array, targets: Int32Array): void {
    const labels = this.counts.length;
    for (const [i, target] of targets.entries()) {
      const row = this.counts[target];
      if (row === undefined) continue;
      const said = argmax(logits.subarray(i * labels, (i + 1) * labels));
      row[said] = (row[said] ?? 0) + 1;
    }
  }
}

/**
 *     true \ said   ham  spam
 *     ham           810     3
 *     spam            9   387
 */
export function confusionTable(counts: readonly (readonly number[])[], labels: readonly string[]): string[] {
  const corner = "true \\ said";
  return columns([[corner, ...labels], ...counts.map((row, i) => [labels[i] ?? "", ...row.map(String)])]);
}

export function scoreTable(scores: readonly ClassScore[], classes: readonly string[]): string[] {
  return columns([
    ["", "precision", "recall", "f1", "support"],
    ...scores.map(({ precision, recall, f1, support }, i) => [
      classes[i] ?? "",
      ...[precision, recall, f1].map((value) => value.toFixed(4)),
      String(support),
    ]),
  ]);
}

export function metricLines(loss: number, metrics: MetricValues): string[] {
  return columns([
    ["loss", loss.toFixed(4)],
    ...Object.entries(metrics).map(([name, value]) => [name, value.toFixed(4)]),
  ]);
}

/** The first column to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
