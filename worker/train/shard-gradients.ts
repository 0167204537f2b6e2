// The gradients of a worker's shard, a microbatch at a time, and who is to blame when they are not finite. Neither reduces
// nor applies them.

import { setImmediate as newsArrives } from "node:timers/promises";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { Engine, Unchanged } from "../engine/engine.ts";
import type { Model } from "../model/model.ts";
import { viewOf } from "../model/parameters.ts";
import type { GradientExchange } from "./gradient-exchange.ts";
import { LossTotal } from "./loss-total.ts";
import { cutShard } from "./shard.ts";
import { now, type Span } from "./span.ts";
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
  /** Called before the last microbatch. */
  readonly onLast?: () => void;
}

export interface ShardResult {
  readonly total: LossTotal;
  /** When each microbatch was computed. */
  readonly microbatches: readonly Span[];
}

/** What gradients are left with. */
export type ShardExchange = Pick<GradientExchange, "gradients" | "accumulates" | "begin" | "add" | "stop">;

/** Leaves the gradients with `exchange`, ready to be reduced. */
export async function shardGradients(
  { engine, model, unchangedBefore }: Computing,
  exchange: ShardExchange,
  plan: ShardPlan,
  { scale, exactly, signal, onLast = () => undefined }: ShardOptions,
): Promise<ShardResult> {
  const { gradients, accumulates } = exchange;
  const total = new LossTotal(exactly);
  const weight = scale / plan.globalTokens;
  const batches = cutShard(plan.shard, plan.microbatch, model.head);
  const microbatches: Span[] = [];
  let { firstRow } = plan;
  await exchange.stop?.();
  exchange.begin({ step: plan.step, microbatches: Math.ceil(plan.batchRows / plan.microbatch), scale });
  for (const [index, batch] of batches.entries()) {
    // The engine computes on this thread: only between microbatches can the news come that the generation is over.
    await newsArrives();
    signal.throwIfAborted();
    const isLast = index === batches.length - 1;
    if (isLast) onLast();
    const began = now();
    const result = await engine.gradients(batch, {
      weight,
      draw: { step: plan.step, firstRow },
      gradients,
      accumulate: index > 0 && accumulates,
      more: !isLast && accumulates,
      unchanged: unchangedBefore(index),
    });
    microbatches.push({ began, ended: now() });
    total.add(result, batch.rows);
    exchange.add(`rows ${firstRow} to ${firstRow + batch.rows - 1} of step ${plan.step}`);
    firstRow += batch.rows;
  }
  return { total, microbatches };
}

/** What of a shard's gradients is not finite. */
export interface NotFinite {
  /** Rows of the shard whose microbatch has such gradients by itself. */
  readonly rows: readonly number[];
  /** In the layout's order; of each the most elements that a microbatch has. */
  readonly tensors: readonly { readonly name: string; readonly elements: number; readonly size: number }[];
}

/** Computes the shard again, a microbatch at a time, to find out. Overwrites `gradients`. */
export async function findNotFinite(
  { engine, model }: Computing,
  gradients: Float32Array,
  plan: ShardPlan,
  { scale, signal }: Pick<ShardOptions, "scale" | "signal">,
): Promise<NotFinite> {
  const rows: number[] = [];
  const elements = new Map<string, number>();
  let start = 0;
  for (const batch of cutShard(plan.shard, plan.microbatch, model.head)) {
    await newsArrives();
    signal.throwIfAborted();
    const draw = { step: plan.step, firstRow: plan.firstRow + start };
    const weight = scale / plan.globalTokens;
    await engine.gradients(batch, { weight, gradients, draw, accumulate: false, unchanged: "all" });
    if (!Number.isFinite(globalNorm(gradients))) {
      for (let i = 0; i < batch.rows; i++) rows.push(start + i);
      for (const spec of engine.layout.specs) {
        const count = countNotFinite(viewOf(gradients, spec));
        elements.set(spec.name, Math.max(count, elements.get(spec.name) ?? 0));
      }
    }
    start += batch.rows;
  }
  const tensors = engine.layout.specs.flatMap(({ name, size }) => {
    const count = elements.get(name) ?? 0;
    return count === 0 ? [] : [{ name, elements: count, size }];
  });
  return { rows, tensors };
}

function countNotFinite(values: Float32Array): number {
  let count = 0;
  for (const value of values) if (!Number.isFinite(value)) count++;
  return count;
}
