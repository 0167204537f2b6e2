// A round of local steps (DiLoCo; Douillard et al., 2023): a worker takes the steps of a plan alone, on its own rows, with the
// optimizer of the configuration, and what it gives to be reduced is not a gradient but how far it came:
//
//     w = start                                          the same on all workers
//     for each step:   w = AdamW(w, mean gradient of this worker's rows of the step)
//     gradient = (start - w) * its tokens / tokens of the round        w = start
//
// The sum over the workers is the mean distance, which the outer optimizer of the training state takes as its gradient once the
// round is committed. Until then nothing has changed: the weights are back where they were before anything is reduced, and
// the moments of the inner optimizer, which are each worker's own, are those of the last round that was committed. A round
// that is given up is simply computed again, by whoever is there then. See docs/compression.md.

import type { FromCoordinator } from "../../proto/messages.ts";
import type { GradientExchange } from "./gradient-exchange.ts";
import { LossTotal } from "./loss-total.ts";
import { clipFactor, createOptimizer, globalNorm, type OptimizerSettings } from "./optimizer.ts";
import { shardGradients, type Computing, type ShardExchange, type ShardResult } from "./shard-gradients.ts";
import type { Span } from "./span.ts";
import type { TrainedWeights, TrainingSettings } from "./trained-weights.ts";
import { weightedSum } from "./weighted-sum.ts";

type Plan = Extract<FromCoordinator, { kind: "plan" }>["value"];
type Shard = NonNullable<Plan["shard"]>;

export interface LocalSteps {
  /** Takes the steps of the plan and leaves what is to be reduced with `exchange`; the weights are as before. */
  run(computing: Computing, exchange: GradientExchange, plan: Plan, signal: AbortSignal): Promise<ShardResult>;
  /** The last round is committed: the next one goes on with the moments that it left. */
  commit(): void;
  /** Other weights than those of the last round are there: moments as before the first step. */
  forget(): void;
}

/** What is applied to the mean distance of a round: Nesterov momentum (Sutskever et al., 2013). Undefined without rounds. */
export function outerOptimizer({ local_steps = 1, outer }: TrainingSettings) {
  if (local_steps === 1 || outer === undefined) return undefined;
  const { learning_rate, momentum } = outer;
  return { name: "sgd" as const, momentum, nesterov: momentum > 0, weight_decay: 0, learning_rate };
}

export function createLocalSteps(
  { trainable, parameters }: Pick<TrainedWeights, "trainable" | "parameters">,
  settings: OptimizerSettings,
): LocalSteps {
  const start = new Float32Array(trainable.size);
  const optimizer = createOptimizer(settings, trainable);

  /** Moments of the committed rounds, and the steps in them. */
  const moments = Object.values(optimizer.state().buffers).map((buffer) => ({ buffer, kept: buffer.slice() }));
  let keptSteps = 0;

  function begin(): void {
    start.set(parameters);
    for (const { buffer, kept } of moments) buffer.set(kept);
    optimizer.load({ ...optimizer.state(), step: keptSteps });
  }

  return {
    async run(computing, exchange, plan, signal) {
      const { gradients } = exchange;
      const total = new LossTotal(false);
      const microbatches: Span[] = [];
      begin();
      try {
        for (const { learningRate, ...part } of stepsOf(plan)) {
          // The sum over tokens, which are counted by computing them.
          const options = { scale: 1, exactly: false, signal };
          const found = await shardGradients(computing, alone(gradients), { ...part, globalTokens: 1 }, options);
          const { tokens } = found.total;
          total.add(found.total, part.batchRows);
          microbatches.push(...found.microbatches);
          if (tokens === 0) continue;
          const factor = clipFactor(globalNorm(gradients) / tokens, plan.clip || null) / tokens;
          optimizer.step(parameters, gradients, { learningRate, clipFactor: factor });
        }
        exchange.begin({ step: plan.step, microbatches: 1, scale: 1 });
        if (total.tokens === 0) return { total, microbatches };
        const weight = total.tokens / plan.globalTokens;
        weightedSum(gradients, { values: start, weight }, { values: parameters, weight: -weight });
        exchange.add(`the round of step ${plan.step}`);
        return { total, microbatches };
      } finally {
        parameters.set(start);
      }
    },
    commit() {
      for (const { buffer, kept } of moments) kept.set(buffer);
      keptSteps = optimizer.state().step;
    },
    forget() {
      for (const { kept } of moments) kept.fill(0);
      keptSteps = 0;
    },
  };
}

/** What each step of the round has: its part of the rows, in order. Those without a row are left out. */
function* stepsOf(plan: Plan): Generator<Omit<Plan, "globalTokens"> & { learningRate: number }> {
  const { shard, learningRates } = plan;
  if (shard === null) return;
  const count = learningRates.length;
  for (const [taken, learningRate] of learningRates.entries()) {
    const [begin, end] = [taken, taken + 1].map((index) => Math.floor((index * shard.rows) / count)) as [
      number,
      number,
    ];
    if (begin === end) continue;
    const step = plan.step - count + taken + 1;
    const rows = { firstRow: plan.firstRow + begin, batchRows: end - begin };
    yield { ...plan, ...rows, step, shard: rowsOf(shard, begin, end), learningRate };
  }
}

/** Views, no copies. */
function rowsOf(shard: Shard, begin: number, end: number): Shard {
  const part = (bytes: Buffer): Buffer => {
    const perRow = bytes.byteLength / shard.rows;
    return bytes.subarray(begin * perRow, end * perRow);
  };
  const { length, inputIds, targets, attentionMask, tokenTypeIds } = shard;
  const arrays = { inputIds: part(inputIds), targets: part(targets) };
  const masks = { attentionMask: part(attentionMask), tokenTypeIds: part(tokenTypeIds) };
  return { rows: end - begin, length, ...arrays, ...masks };
}

/** Gradients that nobody else is to see. */
function alone(gradients: Float32Array): ShardExchange {
  return { gradients, accumulates: true, begin: () => undefined, add: () => undefined };
}
