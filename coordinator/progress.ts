// What a person sees of a run: a line for every step, validation, checkpoint and notice. On a terminal with colours and
// a last line that shows what is going on now; elsewhere plain lines, one after another. Nothing is decided or stored here.

import { describeDuration, describeQuantity, significant } from "./cli/quantities.ts";
import { colorsFor, plain, type Colors } from "./cli/colors.ts";
import type { DownloadProgress } from "../common/hub/obtain.ts";
import type { DataProgress } from "./data/progress.ts";
import type { Place } from "../common/log-line.ts";
import type { RunRecord, StepRecord, ValidationRecord } from "../common/records.ts";

export interface Progress {
  /** Which run this is, and where it stands when something is said. */
  locate(run: string, place: () => Pick<Place, "generation" | "step">): void;
  /** Steps of the whole run, known once the data is; without it there is no ETA. */
  setTotalSteps(steps: number): void;
  record(record: RunRecord): void;
  checkpoint(step: number, path: string): void;
  /** A sentence that a person should see. */
  notice(line: string): void;
  /** A sentence of the core; what a step's own line says already is left out unless `verbose`. */
  decided(reason: string): void;
  /** How far a download or the preparation of the data is; on a terminal only. */
  data(progress: DataProgress | DownloadProgress): void;
  /** Takes the live line away. Call before anything else writes to the terminal, and at the end. */
  end(): void;
}

export interface ProgressOptions {
  readonly stream: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  readonly env?: NodeJS.ProcessEnv;
  readonly verbose?: boolean;
}

export interface StepContext {
  /** Undefined when it is not known. */
  readonly totalSteps: number | undefined;
  /** Of the steps to come, see createRate; undefined before the first. */
  readonly secondsPerStep: number | undefined;
}

export function createProgress({ stream, env = process.env, verbose = false }: ProgressOptions): Progress {
  const terminal = stream.isTTY === true && env["TERM"] !== "dumb";
  const colors = colorsFor(stream, env);
  const rate = createRate();
  let totalSteps: number | undefined;
  let live = "";

  function line(text: string): void {
    stream.write(`${clear()}${text}\n`);
  }
  function clear(): string {
    const erase = live === "" ? "" : "\r\u001b[2K";
    live = "";
    return erase;
  }
  function show(text: string): void {
    if (!terminal) return;
    const erase = clear();
    live = text.slice(0, Math.max(20, (stream.columns ?? 80) - 1));
    stream.write(erase + colors.dim(live));
  }

  return {
    locate: () => undefined,
    setTotalSteps(steps) {
      totalSteps = steps;
    },
    record(record) {
      if (record.kind === "validation") return line(formatValidation(record, { totalSteps }, colors));
      const secondsPerStep = rate.add(record.seconds.total / (record.steps ?? 1));
      line(formatStep(record, { totalSteps, secondsPerStep }, colors));
      if (record.step !== totalSteps)
        show(`step ${record.step + 1}${totalSteps === undefined ? "" : `/${totalSteps}`} ...`);
    },
    checkpoint: (step, path) => line(`${colors.green("saved")} step ${step} to ${path}`),
    notice: (text) => line(text),
    decided(reason) {
      const news = reason.split("; ").filter((sentence) => verbose || !isToldAnyway(sentence));
      if (news.length > 0 && news[0] !== "") line(colors.dim(news.join("; ")));
    },
    data(progress) {
      show(formatData(progress));
    },
    end() {
      if (live !== "") stream.write(clear());
    },
  };
}

/**
 * One step in one line, the columns aligned from line to line:
 * `step  120/300  loss 4.8120  lr 9.61e-4  grad 1.32  18.4k tokens/s  ETA 2m 31s`
 */
export function formatStep(record: StepRecord, context: StepContext, colors: Colors = plain): string {
  const { step, loss, learningRate, gradientNorm, tokens, seconds } = record;
  const speed = seconds.total > 0 ? tokens / seconds.total : 0;
  const parts = [
    formatCount("step", step, context.totalSteps),
    `loss ${colors.bold(loss.toFixed(4))}`,
    `lr ${learningRate.toExponential(2)}`,
    `grad ${significant(gradientNorm, 3).padEnd(5)}`,
    `${describeQuantity(speed).padStart(5)} tokens/s`,
  ];
  if (record.skipped === true) parts.push("update skipped: fp16 overflow");
  const { totalSteps, secondsPerStep } = context;
  if (totalSteps !== undefined && secondsPerStep !== undefined && totalSteps > step) {
    parts.push(`ETA ${describeDuration((totalSteps - step) * secondsPerStep)}`);
  }
  return parts.join("  ");
}

/**
 * `valid 120/300  loss 4.7031  perplexity 110.3  (13.2k tokens in 2s)`, of a task with labels
 * `valid 120/300  loss 0.0512  accuracy 0.9835  f1 0.9706  precision 0.9714  recall 0.9697  (1,209 targets in 2s)`
 */
export function formatValidation(
  record: ValidationRecord,
  context: Pick<StepContext, "totalSteps">,
  colors: Colors = plain,
): string {
  const { step, loss, perplexity, metrics, tokens, seconds } = record;
  const shown = (["accuracy", "f1", "precision", "recall"] as const).map(
    (name) => `${name} ${colors.bold((metrics?.[name] ?? 0).toFixed(4))}`,
  );
  return [
    colors.cyan(formatCount("valid", step, context.totalSteps)),
    `loss ${colors.bold(loss.toFixed(4))}`,
    ...(metrics === undefined ? [`perplexity ${colors.bold(significant(perplexity, 4))}`] : shown),
    `(${describeQuantity(tokens)} ${metrics === undefined ? "tokens" : "targets"} in ${describeDuration(seconds)})`,
  ].join("  ");
}

/** Mean seconds per step, the last twenty or so weighing most; the first counts in full. */
export function createRate(): { add(seconds: number): number } {
  const decay = 0.95;
  let sum = 0;
  let weight = 0;
  return {
    add(seconds) {
      sum = sum * decay + seconds;
      weight = weight * decay + 1;
      return sum / weight;
    },
  };
}

function formatCount(what: string, step: number, total: number | undefined): string {
  const width = String(total ?? 0).length;
  const count = total === undefined ? String(step) : `${String(step).padStart(width)}/${total}`;
  return `${what.padEnd(5)} ${count}`;
}

/** `downloading: 120.0M of 548.1M bytes, 12.1M/s, ETA 35s` */
export function formatData({ phase, done, total, perSecond }: DataProgress | DownloadProgress): string {
  const [doing, unit] = (
    {
      download: ["downloading", "bytes"],
      duplicates: ["comparing", "documents"],
      words: ["counting words", "characters"],
      merges: ["learning merges", "merges"],
      tokens: ["making tokens", "characters"],
      samples: ["making samples", "samples"],
    } as const
  )[phase];
  const share = total === undefined || total === 0 ? "" : ` of ${describeQuantity(total)}`;
  const isTimed = phase === "download" && perSecond > 0;
  const left = isTimed ? `, ETA ${describeDuration((total - done) / perSecond)}` : "";
  return `${doing}: ${describeQuantity(done)}${share} ${unit}, ${describeQuantity(perSecond)}/s${left}`;
}

function isToldAnyway(sentence: string): boolean {
  return /^step \d+ is committed|^the weights of step \d+ are validated| wrote (part \d+ of \d+ of )?the checkpoint of step /.test(
    sentence,
  );
}
