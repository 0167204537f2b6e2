// The compiled engine: for every batch shape the model is traced once, loss and gradients as one ONNX graph, and then
// run by ONNX Runtime on the caller's flat buffers. It holds programs and no copy of the weights.

import { registerGradients } from "../../model/gradients.ts";
import { logitRows, targetsPerRow, type BatchTensors, type Model, type Weights } from "../../model/model.ts";
import { viewOf, type ParameterLayout } from "../../model/parameters.ts";
import { tf } from "../../model/tf.ts";
import { prepareBatch, sumLosses, type PreparedBatch } from "../batch.ts";
import { resolveWeights, type EngineWeights } from "../engine-weights.ts";
import type { Engine, LossResult, Microbatch } from "../engine.ts";
import { ProgramCache } from "./program-cache.ts";
import type { Target } from "./graph.ts";
import type { Selection } from "./providers.ts";
import type { Program, Runtime, RuntimeOptions, Slot } from "./runtime.ts";
import { traceModel, type Trace } from "./tracing-backend.ts";

type Kind = "gradients" | "accumulated gradients" | "losses" | "logits";

export interface OnnxEngineOptions extends EngineWeights {
  readonly threads: number;
  readonly selection: Selection;
  readonly profilePrefix?: string;
}

export function createOnnxEngine(runtime: Runtime, options: OnnxEngineOptions): Engine {
  const { model, parameters, threads } = options;
  const { provider, description, why } = options.selection;
  const { trainable, frozen } = resolveWeights(options);
  registerGradients();
  const runtimeOptions: RuntimeOptions = {
    provider,
    threads,
    ...(options.profilePrefix === undefined ? {} : { profilePrefix: options.profilePrefix }),
  };
  const programs = new ProgramCache((rows, length, kind: Kind) => {
    const target = { provider: provider.name, threads };
    const model = traceComputation(options.model, trainable, { rows, length, target }, kind);
    return runtime.load(model, runtimeOptions);
  });
  const slotsOf = (prefix: string, layout: ParameterLayout, flat: Float32Array): Record<string, Slot> =>
    Object.fromEntries(
      layout.specs.map((spec) => [prefix + spec.name, runtime.slot(viewOf(flat, spec), spec.shape, "float32")]),
    );
  const weightSlots = { ...slotsOf("", trainable, parameters), ...slotsOf("", frozen.layout, frozen.parameters) };
  const gradientSlots = new WeakMap<Float32Array, { read: Record<string, Slot>; write: Record<string, Slot> }>();
  const slotsOfGradients = (flat: Float32Array): { read: Record<string, Slot>; write: Record<string, Slot> } => {
    const known = gradientSlots.get(flat);
    if (known !== undefined) return known;
    const made = { read: slotsOf("sum.", trainable, flat), write: slotsOf("gradient.", trainable, flat) };
    gradientSlots.set(flat, made);
    return made;
  };
  const batchSlots = ({ tokens, ids, attentionMask, tokenTypeIds }: PreparedBatch): Record<string, Slot> => ({
    ...weightSlots,
    ids: runtime.slot(ids, [tokens], "int32"),
    ...(attentionMask && { attentionMask: runtime.slot(attentionMask, [tokens], "float32") }),
    ...(tokenTypeIds && { tokenTypeIds: runtime.slot(tokenTypeIds, [tokens], "int32") }),
  });
  const targetSlot = ({ targets }: PreparedBatch): Slot => runtime.slot(targets, [targets.length], "int32");
  const run = async (batch: Microbatch, kind: Kind, body: (program: Program) => Promise<void>): Promise<void> => {
    await programs.use(batch.rows, batch.length, kind, body);
  };

  return {
    description: `onnx ${description}${provider.name === "cpu" ? `, ${threads} thread${threads === 1 ? "" : "s"}` : ""}`,
    why,
    layout: trainable,
    parameters,

    async gradients(microbatch, { weight, accumulate, gradients }): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, weight);
      const slots = slotsOfGradients(gradients);
      const count = batch.targets.length;
      const losses = new Float32Array(count);
      await run(microbatch, accumulate ? "accumulated gradients" : "gradients", (program) =>
        program.run(
          {
            ...batchSlots(batch),
            targets: targetSlot(batch),
            weights: runtime.slot(batch.weights, [count], "float32"),
            ...(accumulate ? slots.read : {}),
          },
          { ...slots.write, losses: runtime.slot(losses, [count], "float32") },
        ),
      );
      return sumLosses(losses, microbatch.targets);
    },

    async loss(microbatch): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, 1);
      const losses = new Float32Array(batch.targets.length);
      await run(microbatch, "losses", (program) =>
        program.run(
          { ...batchSlots(batch), targets: targetSlot(batch) },
          { losses: runtime.slot(losses, [losses.length], "float32") },
        ),
      );
      return sumLosses(losses, microbatch.targets);
    },

    async logits(microbatch): Promise<Float32Array> {
      const batch = prepareBatch(model, microbatch, 1);
      const shape = [logitRows(model.head, microbatch.rows, microbatch.length), model.outputs] as const;
      const logits = new Float32Array(shape[0] * shape[1]);
      await run(microbatch, "logits", (program) =>
        program.run(batchSlots(batch), { logits: runtime.slot(logits, shape, "float32") }),
      );
      return logits;
    },

    close: () => programs.close(),
  };
}

/** Serialised ONNX model of one kind of computation for one batch shape. */
function traceComputation(
  model: Model,
  trainable: ParameterLayout,
  { rows, length, target }: { rows: number; length: number; target: Target },
  kind: Kind,
): Uint8Array {
  return traceModel(target, (trace) => {
    const tensors = new Map(
      model.layout.specs.map(({ name, shape }) => [name, trace.input(name, shape, "float32")] as const),
    );
    const weights: Weights = { tensor: (name) => tensors.get(name)! };
    const batch = traceBatch(model, trace, rows, length);
    if (kind === "logits") return trace.output("logits", model.logits(weights, batch));
    const count = rows * targetsPerRow(model.head, length);
    const targets = trace.input("targets", [count], "int32");
    if (kind === "losses") return trace.output("losses", model.losses(weights, batch, targets));

    const lossWeights = trace.input("weights", [count], "float32");
    const { specs } = trainable;
    const sums =
      kind === "gradients" ? undefined : specs.map((spec) => trace.input(`sum.${spec.name}`, spec.shape, "float32"));
    // What is computed for the gradients of frozen parameters ends nowhere, and the graph drops it.
    const { grads } = tf.engine().gradients(
      () => {
        const losses = model.losses(weights, batch, targets);
        trace.output("losses", losses);
        return losses;
      },
      specs.map(({ name }) => tensors.get(name)!),
      lossWeights,
    );
    for (const [i, spec] of specs.entries()) {
      const total = sums === undefined ? grads[i]! : tf.add(sums[i]!, grads[i]!);
      trace.output(`gradient.${spec.name}`, total);
    }
  });
}

function traceBatch(model: Model, trace: Trace, rows: number, length: number): BatchTensors {
  const shape = [rows * length];
  return {
    rows,
    length,
    ids: trace.input("ids", shape, "int32"),
    ...(model.causal ? {} : { attentionMask: trace.input("attentionMask", shape, "float32") }),
    ...(model.tokenTypes === 0 ? {} : { tokenTypeIds: trace.input("tokenTypeIds", shape, "int32") }),
  };
}
