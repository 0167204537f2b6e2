// The eager engine: the same model code on a stock TensorFlow.js backend, operation by operation. Weights are copied into
// tensors at every call, because the caller may have changed them; nothing else outlives a call.

import { registerGradients } from "../../model/gradients.ts";
import type { LanguageModel, TokenBatch } from "../../model/language-model.ts";
import { viewOf } from "../../model/parameters.ts";
import { tf } from "../../model/tf.ts";
import { prepareBatch, sumLosses, type PreparedBatch } from "../batch.ts";
import type { Engine, LossResult, Microbatch } from "../engine.ts";
import { withBackend } from "../with-backend.ts";
import type { TfjsBackend } from "./backends.ts";

export interface TfjsEngineOptions {
  readonly model: LanguageModel;
  readonly parameters: Float32Array;
  readonly backend: TfjsBackend;
}

export function createTfjsEngine({ model, parameters, backend }: TfjsEngineOptions): Engine {
  registerGradients();
  const { specs } = model.layout;

  /** Runs `body` on the backend with fresh tensors, and disposes of every tensor that it makes. */
  const compute = <T>(
    microbatch: Microbatch,
    weight: number,
    body: (tensors: tf.Tensor[], named: (name: string) => tf.Tensor, batch: TokenBatch, prepared: PreparedBatch) => T,
  ): T => {
    const prepared = prepareBatch(model, microbatch, weight);
    return withBackend(backend.name, () => {
      tf.engine().startScope();
      try {
        // TensorFlow.js may keep a reference to what it is given, so it gets a copy.
        const tensors = specs.map((spec) => tf.tensor(viewOf(parameters, spec).slice(), [...spec.shape]));
        const byName = new Map(specs.map((spec, i) => [spec.name, tensors[i]!]));
        const ids = tf.tensor1d(prepared.ids.slice(), "int32");
        const batch = { rows: microbatch.rows, length: microbatch.length, ids };
        return body(tensors, (name) => byName.get(name)!, batch, prepared);
      } finally {
        tf.engine().endScope();
      }
    });
  };
  const targetsOf = (prepared: PreparedBatch): tf.Tensor => tf.tensor1d(prepared.targets, "int32");

  return {
    description: backend.description,
    layout: model.layout,
    parameters,

    async gradients(microbatch, { weight, accumulate, gradients }): Promise<LossResult> {
      return compute(microbatch, weight, (tensors, named, batch, prepared) => {
        const targets = targetsOf(prepared);
        const { value, grads } = tf
          .engine()
          .gradients(() => model.tokenLosses(named, batch, targets), tensors, tf.tensor1d(prepared.weights));
        for (const [i, spec] of specs.entries()) {
          const into = viewOf(gradients, spec);
          const values = grads[i]!.dataSync<"float32">();
          if (!accumulate) into.set(values);
          else for (let j = 0; j < into.length; j++) into[j]! += values[j]!;
        }
        return sumLosses(value.dataSync(), microbatch.targets);
      });
    },

    async loss(microbatch): Promise<LossResult> {
      return compute(microbatch, 1, (_, named, batch, prepared) =>
        sumLosses(model.tokenLosses(named, batch, targetsOf(prepared)).dataSync(), microbatch.targets),
      );
    },

    async logits(microbatch): Promise<Float32Array> {
      return compute(microbatch, 1, (_, named, batch) => model.logits(named, batch).dataSync<"float32">().slice());
    },

    async close(): Promise<void> {},
  };
}
