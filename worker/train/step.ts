// A step of one worker up to its vote: the gradients of its shard, their sum over the ranks, and what it says of both.
// Whether the step is committed, and what becomes of the weights, is decided elsewhere.

import { setImmediate as newsArrives } from "node:timers/promises";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import type { Collective } from "../collective/collective.ts";
import type { GradientExchange } from "./gradient-exchange.ts";
import { digestOfSamples } from "./sample-digest.ts";
import { cutShard } from "./shard.ts";
import type { LocalSteps } from "./local-steps.ts";
import { findNotFinite, shardGradients, type Computing } from "./shard-gradients.ts";
import { now, type Span } from "./span.ts";
import { summarise } from "./summary.ts";

type Plan = Extract<FromCoordinator, { kind: "plan" }>["value"];
export type Vote = Extract<FromWorker, { kind: "reduced" }>["value"];

export interface StepOptions {
  /** Of the loss; see loss-scale.ts. */
  readonly scale: number;
  /** See LossTotal. */
  readonly exactly: boolean;
  /** What overflows is left out, and nobody is to blame. */
  readonly canSkip: boolean;
  readonly waitedSeconds: number;
  readonly signal: AbortSignal;
  /** See Report. */
  readonly doing: (sentence: string, inCollective?: boolean) => void;
}

/** Leaves the sum in the exchange's gradients. `norm` is of that, times the scale. */
export async function computeStep(
  computing: Computing,
  {
    exchange,
    collective,
    local,
  }: {
    readonly exchange: GradientExchange;
    readonly collective: Collective;
    /** Takes the steps of a plan instead of computing one gradient. */
    readonly local: LocalSteps | undefined;
  },
  plan: Plan,
  { scale, exactly, canSkip, waitedSeconds, signal, doing }: StepOptions,
): Promise<{ readonly norm: number; readonly vote: Vote }> {
  const { gradients } = exchange;
  const { generation, step } = plan;
  doing(`computing step ${step}`);
  const start = performance.now();
  const { total, microbatches } = await (local?.run(computing, exchange, plan, signal) ??
    shardGradients(computing, exchange, plan, {
      ...{ scale, exactly, signal },
      onLast: () => exchange.startEarly?.(),
    }));
  const { lossSum, tokens, notFiniteRows } = total;
  await newsArrives();
  signal.throwIfAborted();
  const computeSeconds = (performance.now() - start) / 1000;
  doing(`reducing step ${step}`, true);
  const reduced = await exchange.reduce(collective, { step, bucket: 0, signal });
  const { bytesSent, bytesBetweenHosts, seconds, collectiveSeconds = seconds, buckets = [] } = reduced;
  const { norm, digest } = summarise(gradients);
  let notFiniteTensors: Vote["notFiniteTensors"] = [];
  if (!Number.isFinite(norm) && (!canSkip || notFiniteRows.length > 0)) {
    // Of the sum; whose part of it? Nothing will be committed, so the gradients are free to be computed again.
    doing(`looking for what is not finite in step ${step}`);
    const { rows, tensors } = await findNotFinite(computing, gradients, plan, { scale, signal });
    if (notFiniteRows.length === 0) notFiniteRows.push(...rows);
    notFiniteTensors = [...tensors];
  }
  const samples = digestOfSamples(cutShard(plan.shard, plan.microbatch, computing.model.head));
  const voted = now();
  const before = ({ began, ended }: Span) => ({ began: (voted - began) / 1000, ended: (voted - ended) / 1000 });
  const times = {
    ...{ dataSeconds: waitedSeconds, computeSeconds, allReduceSeconds: seconds, collectiveSeconds },
    microbatches: microbatches.map(before),
    buckets: buckets.map(before),
  };
  const bytes = { bytesSent, bytesBetweenHosts };
  const findings = { notFiniteRows, notFiniteTensors, ...samples };
  const gradientNorm = norm / scale;
  return { norm, vote: { generation, step, lossSum, tokens, gradientNorm, digest, times, ...bytes, ...findings } };
}
