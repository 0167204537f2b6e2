// What `ringtune watch` shows at one moment, as lines of text: how far the run is, what it learns, who works and what each of
// them does. Nothing is asked or drawn here.

import type { RunRecord, StepRecord, ValidationRecord } from "../../common/records.ts";
import type { RunStatus } from "../../proto/admin.ts";
import type { Colors } from "../cli/colors.ts";
import { describeDuration, describeQuantity, significant } from "../cli/quantities.ts";
import { sparkline } from "./sparkline.ts";

/** Steps whose mean is the speed that is shown. */
const RECENT = 20;
const BAR = 30;

/** Lines of at most `columns` characters, without colours counted. */
export function frame(status: RunStatus, records: readonly RunRecord[], columns: number, colors: Colors): string[] {
  const steps = records.filter((record): record is StepRecord => record.kind === "step");
  const validations = records.filter((record): record is ValidationRecord => record.kind === "validation");
  const cut = (text: string): string => (text.length > columns ? `${text.slice(0, columns - 1)}…` : text);
  return [
    colors.bold(cut(headline(status))),
    cut(progressLine(status, steps)),
    ...(steps.length === 0 ? [] : [cut(lossLine(steps, columns))]),
    ...(validations.length === 0 ? [] : [cut(validationLine(validations))]),
    "",
    ...workerTable(status).map((line, index) => (index === 0 ? colors.dim(cut(line)) : paint(cut(line), colors))),
    ...status.dead.slice(-3).map((sentence) => colors.red(cut(`dead: ${sentence}`))),
  ];
}

function headline({ run, phase, generation, workers, saved }: RunStatus): string {
  return `${run}: ${phase}, generation ${generation}, ${workers.length} workers, checkpoint of step ${saved}`;
}

function progressLine({ step, totalSteps }: RunStatus, steps: readonly StepRecord[]): string {
  const share = totalSteps === 0 ? 0 : step / totalSteps;
  const bar = "█".repeat(Math.round(share * BAR)).padEnd(BAR, "░");
  const recent = steps.slice(-RECENT);
  const seconds = recent.reduce((sum, record) => sum + record.seconds.total, 0);
  const done = `${bar} step ${step}/${totalSteps}`;
  if (!(seconds > 0)) return done;
  const tokens = recent.reduce((sum, record) => sum + record.tokens, 0) / seconds;
  const taken = recent.reduce((sum, record) => sum + (record.steps ?? 1), 0);
  const left = ((totalSteps - step) * seconds) / taken;
  return `${done}  ${describeQuantity(tokens)} tokens/s  ${significant(taken / seconds, 3)} steps/s  ETA ${describeDuration(left)}`;
}

function lossLine(steps: readonly StepRecord[], columns: number): string {
  const last = steps.at(-1)!;
  const numbers = `loss ${last.loss.toFixed(4)}  grad ${significant(last.gradientNorm, 3)}  lr ${last.learningRate.toExponential(2)}  `;
  const width = Math.max(8, Math.min(60, columns - numbers.length - 1));
  return `${numbers}${sparkline(
    steps.map(({ loss }) => loss),
    width,
  )}`;
}

function validationLine(validations: readonly ValidationRecord[]): string {
  const { step, loss, perplexity, metrics } = validations.at(-1)!;
  const told =
    metrics === undefined
      ? `perplexity ${significant(perplexity, 4)}`
      : `accuracy ${metrics.accuracy.toFixed(4)}  f1 ${metrics.f1.toFixed(4)}`;
  return `validation after step ${step}: loss ${loss.toFixed(4)}  ${told}`;
}

const heads = ["worker", "state", "rank", "host", "heard", "late", "doing"];

function workerTable({ workers }: RunStatus): string[] {
  const rows = workers.map(({ id, status, rank, host, silentSeconds, lagSeconds, doing }) => [
    id,
    status,
    rank < 0 ? "-" : String(rank),
    host,
    `${silentSeconds.toFixed(1)}s`,
    `${(1000 * lagSeconds).toFixed(0)}ms`,
    doing,
  ]);
  return columnsOf([heads, ...rows]);
}

/** Cells padded to the widest of their column, two spaces apart. */
export function columnsOf(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
}

/** A worker that is not at work stands out. */
function paint(line: string, colors: Colors): string {
  const state = line.split(/\s+/)[1];
  return state === "suspect" ? colors.red(line) : state === "healthy" ? line : colors.yellow(line);
}
