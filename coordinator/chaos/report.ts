// What a chaos run found, for people: how often each kind of fault took effect, how long the cluster needed to go on, and
// what the run's files say about loss. As JSON it is the result itself.

import { quantile } from "../../common/median.ts";
import { significant, describeDuration } from "../cli/quantities.ts";
import type { ChaosResult, Fault } from "./chaos.ts";
import { faultKinds } from "./plan.ts";

/** One line: "fault 12  kill w3 (computing step 40): the next commit after 85 ms, 31 ms of it the step done anew". */
export function describeFault({ planned, outcome }: Fault): string {
  const { number, kind, way } = planned;
  const { target, found, missed, recoveredMs, redoneMs } = outcome;
  const what = way === "SIGKILL" ? kind : `${kind} (${way})`;
  const redone = redoneMs === undefined ? "" : `, ${Math.round(redoneMs)} ms of it the step done anew`;
  const then =
    missed !== undefined
      ? `not counted: ${missed}`
      : recoveredMs === undefined
        ? "nothing had to recover"
        : `the next commit after ${Math.round(recoveredMs)} ms${redone}`;
  return `fault ${number}  ${what} ${target} (${found}): ${then}`;
}

/** Several lines, with a table. */
export function describeResult(result: ChaosResult): string {
  const { faults, samples, seed, seconds, steps, reference, violations } = result;
  const fired = faults.filter(({ outcome }) => outcome.missed === undefined);
  const rate = significant(fired.length / seconds, 2);
  const lines = [
    `seed ${seed}: ${fired.length} faults in ${describeDuration(seconds)} (${rate} a second), ${steps} steps committed in ${result.generations} generations`,
    "",
    ...faultTable(faults),
    "",
    row("found while", foundWhile(fired)),
    row(
      "samples",
      `${samples.committed} committed, ${samples.requeued} re-queued, ${samples.lost} lost, ${samples.duplicated} duplicated`,
    ),
    row(
      "workers",
      `${result.started} processes started, ${result.killed} killed by faults, ${result.survivorsRestarted} survivors restarted`,
    ),
    row("checkpoints", `${result.checkpointsRestored} restored`),
    row("weights", `step ${steps}, sha256 ${result.digest.slice(0, 16)}`),
  ];
  const alarms = fired.filter(({ outcome }) => outcome.falseAlarm === true).length;
  if (alarms > 0) lines.push(row("alarms", `${alarms} workers were given up before their limit`));
  if (reference !== undefined) {
    const same = reference.sameWeights ? "the same weights" : `other weights (${reference.digest.slice(0, 16)})`;
    const samples = reference.sameSamples ? "the same samples" : "OTHER SAMPLES";
    const worst = `losses differ by at most ${reference.worstLoss === 0 ? "0" : reference.worstLoss.toExponential(1)}`;
    lines.push(row("no faults", `${same}, ${samples}, ${worst}`));
  }
  lines.push(row("logs", `${result.run}.chaos`));
  lines.push("", violations.length === 0 ? "nothing was lost" : `WRONG: ${violations.join("; ")}`, "");
  return lines.join("\n");
}

function faultTable(faults: readonly Fault[]): string[] {
  const rows = [["fault", "took effect", "did not", "next commit: median", "p95", "worst"]];
  for (const kind of faultKinds) {
    const own = faults.filter(({ planned }) => planned.kind === kind);
    if (own.length === 0) continue;
    for (const way of [...new Set(own.map(({ planned }) => planned.way))].sort()) {
      const ones = own.filter(({ planned }) => planned.way === way).map(({ outcome }) => outcome);
      const fired = ones.filter(({ missed }) => missed === undefined);
      const times = fired.flatMap(({ recoveredMs }) => (recoveredMs === undefined ? [] : [recoveredMs]));
      const name = way === "SIGKILL" ? kind : `${kind}, ${way}`;
      const cells = times.length === 0 ? ["-", "-", "-"] : [0.5, 0.95, 1].map((q) => milliseconds(quantile(times, q)));
      rows.push([name, String(fired.length), String(ones.length - fired.length), ...cells]);
    }
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "),
  );
}

/** What the targets were doing: "computing 9, reducing 4". */
function foundWhile(fired: readonly Fault[]): string {
  const counts = new Map<string, number>();
  for (const { planned, outcome } of fired) {
    if (planned.kind === "coordinator" || planned.kind === "disk") continue;
    const doing = outcome.found.split(" ")[0] ?? "";
    counts.set(doing, (counts.get(doing) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  return sorted.map(([doing, count]) => `${doing} ${count}`).join(", ");
}

function milliseconds(value: number): string {
  return `${Math.round(value)} ms`;
}

function row(name: string, text: string): string {
  return `${name.padEnd(12)} ${text}`;
}
