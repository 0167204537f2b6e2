// The eager engine: the same model code on a stock TensorFlow.js backend, operation by operation. Weights are copied into
// tensors at every call, because the caller may have changed them; nothing else outlives a call.

import { assert } from "../../../common/errors.ts";
import { registerGradients } from "../../model/gradients.ts";
import { trainedWithin, type BatchTensors, type Weights } from "../../model/model.ts";
import { viewOf, type ParameterLayout } from "../../model/parameters.ts";
import { tf } from "../../model/tf.ts";
import { prepareBatch, sumLosses, type PreparedBatch } from "../batch.ts";
import { resolveWeights, type EngineWeights } from "../engine-weights.ts";
import { drawMask, type Draw } from "../dropout-masks.ts";
import type { Engine, LossResult, Microbatch } from "../engine.ts";
import { resolveTraining, type WithTraining } from "../training-options.ts";
import { withBackend } from "../with-backend.ts";
import type { TfjsBackend } from "./backends.ts";

/** Everything that a computation needs, as tensors. */
interface Computation {
  readonly weights: Weights;
  /** In the order of the engine's layout. */
  readonly trained: tf.Tensor[];
  readonly batch: BatchTensors;
  readonly targets: tf.Tensor;
  readonly prepared: PreparedBatch;
}

export function createTfjsEngine(options: EngineWeights & WithTraining, backend: TfjsBackend): Engine {
  const { model, parameters } = options;
  const { trainable, frozen } = resolveWeights(options);
  const { labelSmoothing, dropoutSeed, recompute } = resolveTraining(options.training, model.head, {
    kind: "tfjs",
    device: backend.name,
  });
  registerGradients();

  // TensorFlow.js may keep a reference to what it is given, so it gets a copy.
  const tensorsOf = ({ specs }: ParameterLayout, flat: Float32Array): tf.Tensor[] =>
    specs.map((spec) => tf.tensor(viewOf(flat, spec).slice(), [...spec.shape]));

  /** Runs `body` on the backend with fresh tensors, and disposes of every tensor that it makes. */
  const compute = <T>(microbatch: Microbatch, weight: number, body: (computation: Computation) => T): T => {
    const prepared = prepareBatch(model, microbatch, weight);
    return withBackend(backend.name, () => {
      tf.engine().startScope();
      try {
        const trained = tensorsOf(trainable, parameters);
        const others = tensorsOf(frozen.layout, frozen.parameters);
        const specs = [...trainable.specs, ...frozen.layout.specs];
        const tensors = new Map([...trained, ...others].map((tensor, i) => [specs[i]!.name, tensor]));
        const { attentionMask, tokenTypeIds } = prepared;
        const batch: BatchTensors = {
          rows: microbatch.rows,
          length: microbatch.length,
          ids: tf.tensor1d(prepared.ids.slice(), "int32"),
          ...(attentionMask && { attentionMask: tf.tensor1d(attentionMask) }),
          ...(tokenTypeIds && { tokenTypeIds: tf.tensor1d(tokenTypeIds.slice(), "int32") }),
        };
        const targets = tf.tensor1d(prepared.targets, "int32");
        return body({ weights: { tensor: (name) => tensors.get(name)! }, trained, batch, targets, prepared });
      } finally {
        tf.engine().endScope();
      }
    });
  };

  const masksOf = (rows: number, draw: Draw | undefined): Pick<Weights, "mask"> => {
    if (dropoutSeed === undefined) return {};
    assert(draw !== undefined, "an engine with dropout was not told which rows it computes");
    return {
      mask(place, shape, rate) {
        const mask = new Uint8Array(shape.reduce((size, length) => size * length, 1));
        drawMask(mask, { seed: dropoutSeed, place, rate, rows, draw });
        return tf.tensor(mask, [...shape], "bool");
      },
    };
  };

  return {
    description: backend.description,
    why: backend.why,
    layout: trainable,
    parameters,

    async gradients(microbatch, { weight, accumulate, gradients, draw }): Promise<LossResult> {
      return compute(microbatch, weight, ({ weights, trained, batch, targets, prepared }) => {
        const masks = masksOf(microbatch.rows, draw);
        const blocks =
          recompute === "none" ? {} : { trained: (part: string) => trainedWithin(trainable, part, weights) };
        const { value, grads } = tf
          .engine()
          .gradients(
            () => model.losses({ ...weights, ...masks, ...blocks }, batch, targets, labelSmoothing),
            trained,
            tf.tensor1d(prepared.weights),
          );
        for (const [i, spec] of trainable.specs.entries()) {
          const into = viewOf(gradients, spec);
          const values = grads[i]!.dataSync<"float32">();
          if (!accumulate) into.set(values);
          else for (let j = 0; j < into.length; j++) into[j]! += values[j]!;
        }
        return sumLosses(value.dataSync(), microbatch);
      });
    },

    async loss(microbatch): Promise<LossResult> {
      return compute(microbatch, 1, ({ weights, batch, targets }) =>
        sumLosses(model.losses(weights, batch, targets).dataSync(), microbatch),
      );
    },

    async logits(microbatch): Promise<Float32Array> {
      return compute(microbatch, 1, ({ weights, batch }) => model.logits(weights, batch).dataSync<"float32">().slice());
    },

    async close(): Promise<void> {},
  };
}
