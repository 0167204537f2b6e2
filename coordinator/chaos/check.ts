// Whether a run under faults has lost anything: asked of what it left on disk, and of the run without faults if there is one.

import { realpath } from "node:fs/promises";
import { join } from "node:path";
import type { LedgerCounts, StepRecord } from "../../common/records.ts";
import { readRecordLog } from "../store/record-log.ts";
import { digestOfCheckpoint } from "./checkpoint-digest.ts";

/** A run at one of its steps. */
export interface Final {
  readonly step: number;
  /** SHA-256 of weights and optimizer state. */
  readonly digest: string;
  readonly ledger: LedgerCounts | undefined;
  readonly losses: readonly number[];
}

export interface Verdict {
  readonly steps: number;
  readonly samples: LedgerCounts;
  /** Workers that were not killed and yet are not the processes that they were. */
  readonly survivorsRestarted: number;
  readonly checkpointsRestored: number;
  readonly digest: string;
  readonly reference?: {
    readonly digest: string;
    readonly sameWeights: boolean;
    readonly sameSamples: boolean;
    /** Largest relative difference between the losses of a step. */
    readonly worstLoss: number;
  };
  /** What must not be, a sentence each; empty when all is well. */
  readonly violations: readonly string[];
}

const noSamples: LedgerCounts = { leased: 0, committed: 0, requeued: 0, duplicated: 0, lost: 0, digest: "" };

export async function checkRun(given: {
  readonly run: string;
  /** Steps that were seen to be committed again. */
  readonly repeated: readonly number[];
  /** Sentences of coordinators that went back to a checkpoint. */
  readonly restored: readonly string[];
  /** Of processes that ended by themselves, a sentence each. */
  readonly endedAlone: readonly string[];
  readonly reference: Final | undefined;
  readonly identical: boolean;
}): Promise<Verdict> {
  const { run, repeated, restored, endedAlone, reference, identical } = given;
  const final = await readFinal(run);
  const steps = await readSteps(run);
  const samples = final.ledger ?? noSamples;
  const violations = [
    ...endedAlone.map((sentence) => `${sentence} though nobody had killed it`),
    ...restored.map((sentence) => `a checkpoint was restored: ${sentence}`),
  ];
  const wrong = steps.findIndex(({ step, steps: taken = 1 }, index) => step !== (steps[index - 1]?.step ?? 0) + taken);
  if (wrong >= 0) violations.push(`line ${wrong + 1} of the steps is step ${steps[wrong]!.step}`);
  if (repeated.length > 0)
    violations.push(`${repeated.length} steps were committed again, the first is ${repeated[0]}`);
  const trained = steps.reduce((sum, record) => sum + record.samples, 0);
  if (samples.committed !== trained)
    violations.push(`${samples.committed} samples are committed, the steps have ${trained}`);
  if (samples.lost > 0) violations.push(`${samples.lost} samples were lost`);
  if (samples.duplicated > 0) violations.push(`${samples.duplicated} samples were trained on twice`);
  const compared = reference && compare(final, reference);
  if (compared?.sameSamples === false) violations.push("the samples are not those of the run without faults");
  if (compared?.sameWeights === false && identical) {
    violations.push(
      `the weights of step ${final.step} have digest ${final.digest.slice(0, 16)}, without faults ${reference!.digest.slice(0, 16)}`,
    );
  }
  return {
    steps: steps.length,
    samples,
    survivorsRestarted: endedAlone.length,
    checkpointsRestored: restored.length,
    digest: final.digest,
    ...(compared === undefined ? {} : { reference: compared }),
    violations,
  };
}

function compare(final: Final, reference: Final): NonNullable<Verdict["reference"]> {
  const differences = final.losses.map((loss, i) => Math.abs(loss - reference.losses[i]!) / Math.abs(loss));
  return {
    digest: reference.digest,
    sameWeights: final.digest === reference.digest,
    sameSamples: final.ledger?.digest === reference.ledger?.digest,
    worstLoss: differences.reduce((worst, each) => Math.max(worst, each), 0),
  };
}

/** The run's newest checkpoint, or that of `step`, and the records up to it. */
export async function readFinal(run: string, checkpoint = join(run, "latest")): Promise<Final> {
  const folder = await realpath(checkpoint);
  const step = Number(/step-(\d+)$/.exec(folder)?.[1]);
  const steps = (await readSteps(run)).filter((record) => record.step <= step);
  return {
    step,
    digest: await digestOfCheckpoint(folder),
    ledger: steps.at(-1)?.ledger,
    losses: steps.map(({ loss }) => loss),
  };
}

async function readSteps(run: string): Promise<StepRecord[]> {
  const records = await readRecordLog(join(run, "metrics.jsonl"));
  return records.filter((record) => record.kind === "step");
}
