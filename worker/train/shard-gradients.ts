// The gradients of a worker's shard, a microbatch at a time, and who is to blame when they are not finite. Neither reduces
// nor applies them.

import { setImmediate as newsArrives } from "node:timers/promises";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { Engine, Unchanged } from "../engine/engine.ts";
import type { Model } from "../model/model.ts";
import type { GradientExchange } from "./gradient-exchange.ts";
import { LossTotal } from "./loss-total.ts";
import { cutShard } from "./shard.ts";
import { globalNorm } from "./summary.ts";

type Plan = Extract<FromCoordinator, { kind: "plan" }>["value"];

/** What of a plan decides the gradients of a shard. */
export type ShardPlan = Pick<Plan, "shard" | "microbatch" | "step" | "firstRow" | "globalTokens" | "batchRows">;

/** What computes, and what it knows of the weights. */
export interface Computing {
  readonly engine: Engine;
  readonly model: Model;
  /** What nobody has written since the engine last read the weights, before this microbatch of a shard. */
  readonly unchangedBefore: (microbatch: number) => Unchanged | undefined;
}

export interface ShardOptions {
  /** Of the loss; see loss-scale.ts. */
  readonly scale: number;
  /** See LossTotal. */
  readonly exactly: boolean;
  readonly signal: AbortSignal;
}

/** Leaves the gradients with `exchange`, ready to be reduced. */
export async function shardGradients(
  { engine, model, unchangedBefore }: Computing,
  exchange: GradientExchange,
  plan: ShardPlan,
  { scale, exactly, signal }: ShardOptions,
): Promise<LossTotal> {
  const { gradients, accumulates } = exchange;
  const total = new LossTotal(exactly);
  const weight = scale / plan.globalTokens;
  const microbatches = cutShard(plan.shard, plan.microbatch, model.head);
  let { firstRow } = plan;
  exchange.begin({ step: plan.step, microbatches: Math.ceil(plan.batchRows / plan.microbatch), scale });
  for (const [index, batch] of microbatches.entries()) {
    // The engine computes on this thread: only between microbatches can the news come that the generation is over.
    await newsArrives();
    signal.throwIfAborted();
    const result = await engine.gradients(batch, {
      weight,
      draw: { step: plan.step, firstRow },
      gradients,
      accumulate: index > 0 && accumulates,
      more: index < microbatches.length - 1 && accumulates,
      unchanged: unchangedBefore(index),
    });
    total.add(result, batch.rows);
    exchange.add(`rows ${firstRow} to ${firstRow + batch.rows - 1} of step ${plan.step}`);
    firstRow += batch.rows;
  }
  return total;
}

/** The rows of the shard whose gradients are not finite by themselves, a microbatch at a time. Overwrites `gradients`. */
export async function rowsNotFinite(
  { engine, model }: Computing,
  gradients: Float32Array,
  plan: ShardPlan,
  { scale, signal }: Pick<ShardOptions, "scale" | "signal">,
): Promise<number[]> {
  const found: number[] = [];
  let start = 0;
  for (const batch of cutShard(plan.shard, plan.microbatch, model.head)) {
    await newsArrives();
    signal.throwIfAborted();
    const draw = { step: plan.step, firstRow: plan.firstRow + start };
    const weight = scale / plan.globalTokens;
    await engine.gradients(batch, { weight, gradients, draw, accumulate: false, unchanged: "all" });
    if (!Number.isFinite(globalNorm(gradients))) for (let i = 0; i < batch.rows; i++) found.push(start + i);
    start += batch.rows;
  }
  return found;
}
