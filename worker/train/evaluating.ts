// A worker's part of a validation: the losses of its shard and, of models with labels, how its predictions compare.

import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import { labelHead, labelLosses, labelsOf, PredictionCounter } from "../evaluation/label-predictions.ts";
import { LossTotal } from "./loss-total.ts";
import { cutShard } from "./shard.ts";
import type { Computing } from "./shard-gradients.ts";

type Task = Extract<FromCoordinator, { kind: "evaluate" }>["value"];
type Evaluated = Extract<FromWorker, { kind: "evaluated" }>["value"];

/** `exactly`: see LossTotal. */
export async function evaluateShard(
  { engine, model, unchangedBefore }: Computing,
  task: Task,
  exactly: boolean,
): Promise<Evaluated> {
  const total = new LossTotal(exactly);
  // One forward pass gives the predictions and, from the same few logits, the loss.
  const head = labelHead(model);
  const counter = head && new PredictionCounter(head, labelsOf(model, head));
  for (const [index, batch] of cutShard(task.shard, task.microbatch, model.head).entries()) {
    const unchanged = unchangedBefore(index);
    if (head === undefined) total.add(await engine.loss(batch, { unchanged }), batch.rows);
    else {
      const logits = await engine.logits(batch, { unchanged });
      total.add(labelLosses(head, logits, batch), batch.rows);
      counter?.add(logits, batch);
    }
  }
  const { lossSum, tokens, notFiniteRows } = total;
  const { generation, step } = task;
  return { generation, step, lossSum, tokens, notFiniteRows, counts: counter?.counts ?? null };
}
