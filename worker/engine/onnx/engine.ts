// The compiled engine: for every batch shape the model is traced once, loss and gradients as one ONNX graph, and then
// run by ONNX Runtime on the caller's flat buffers. It holds programs and no copy of the weights.

import { registerGradients } from "../../model/gradients.ts";
import type { LanguageModel } from "../../model/language-model.ts";
import { viewOf } from "../../model/parameters.ts";
import { tf } from "../../model/tf.ts";
import { prepareBatch, sumLosses, type PreparedBatch } from "../batch.ts";
import type { Engine, LossResult, Microbatch } from "../engine.ts";
import { ProgramCache } from "./program-cache.ts";
import type { Program, Runtime, RuntimeOptions, Slot } from "./runtime.ts";
import { traceModel } from "./tracing-backend.ts";

type Kind = "gradients" | "accumulated gradients" | "losses" | "logits";

export interface OnnxEngineOptions {
  readonly model: LanguageModel;
  readonly parameters: Float32Array;
  readonly threads: number;
  readonly profilePrefix?: string;
}

export function createOnnxEngine(runtime: Runtime, options: OnnxEngineOptions): Engine {
  const { model, parameters, threads } = options;
  registerGradients();
  const { specs } = model.layout;
  const runtimeOptions: RuntimeOptions = {
    threads,
    ...(options.profilePrefix === undefined ? {} : { profilePrefix: options.profilePrefix }),
  };
  const programs = new ProgramCache((rows, length, kind: Kind) =>
    runtime.load(traceLanguageModel(model, { rows, length, threads }, kind), runtimeOptions),
  );
  const slotsOf = (prefix: string, flat: Float32Array): Record<string, Slot> =>
    Object.fromEntries(
      specs.map((spec) => [prefix + spec.name, runtime.slot(viewOf(flat, spec), spec.shape, "float32")]),
    );
  const parameterSlots = slotsOf("", parameters);
  const gradientSlots = new WeakMap<Float32Array, { read: Record<string, Slot>; write: Record<string, Slot> }>();
  const slotsOfGradients = (flat: Float32Array): { read: Record<string, Slot>; write: Record<string, Slot> } => {
    const known = gradientSlots.get(flat);
    if (known !== undefined) return known;
    const made = { read: slotsOf("sum.", flat), write: slotsOf("gradient.", flat) };
    gradientSlots.set(flat, made);
    return made;
  };
  const tokenSlots = (batch: PreparedBatch): Record<string, Slot> => ({
    ids: runtime.slot(batch.ids, [batch.tokens], "int32"),
    targets: runtime.slot(batch.targets, [batch.tokens], "int32"),
  });
  const run = async (batch: Microbatch, kind: Kind, body: (program: Program) => Promise<void>): Promise<void> => {
    await programs.use(batch.rows, batch.length, kind, body);
  };

  return {
    description: `onnx cpu, ${threads} thread${threads === 1 ? "" : "s"}`,
    layout: model.layout,
    parameters,

    async gradients(microbatch, { weight, accumulate, gradients }): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, weight);
      const slots = slotsOfGradients(gradients);
      const losses = new Float32Array(batch.tokens);
      await run(microbatch, accumulate ? "accumulated gradients" : "gradients", (program) =>
        program.run(
          {
            ...parameterSlots,
            ...tokenSlots(batch),
            weights: runtime.slot(batch.weights, [batch.tokens], "float32"),
            ...(accumulate ? slots.read : {}),
          },
          { ...slots.write, losses: runtime.slot(losses, [batch.tokens], "float32") },
        ),
      );
      return sumLosses(losses, microbatch.targets);
    },

    async loss(microbatch): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, 1);
      const losses = new Float32Array(batch.tokens);
      await run(microbatch, "losses", (program) =>
        program.run(
          { ...parameterSlots, ...tokenSlots(batch) },
          { losses: runtime.slot(losses, [batch.tokens], "float32") },
        ),
      );
      return sumLosses(losses, microbatch.targets);
    },

    async logits(microbatch): Promise<Float32Array> {
      const batch = prepareBatch(model, microbatch, 1);
      const logits = new Float32Array(batch.tokens * model.vocabularySize);
      await run(microbatch, "logits", (program) => {
        const { ids } = tokenSlots(batch);
        const shape = [batch.tokens, model.vocabularySize];
        return program.run({ ...parameterSlots, ids: ids! }, { logits: runtime.slot(logits, shape, "float32") });
      });
      return logits;
    },

    close: () => programs.close(),
  };
}

/** Serialised ONNX model of one kind of computation for one batch shape. */
function traceLanguageModel(
  model: LanguageModel,
  { rows, length, threads }: { rows: number; length: number; threads: number },
  kind: Kind,
): Uint8Array {
  const { specs } = model.layout;
  return traceModel(threads, (trace) => {
    const tensors = specs.map((spec) => trace.input(spec.name, spec.shape, "float32"));
    const byName = new Map(specs.map((spec, i) => [spec.name, tensors[i]!]));
    const parameters = (name: string): tf.Tensor => byName.get(name)!;
    const batch = { rows, length, ids: trace.input("ids", [rows * length], "int32") };
    if (kind === "logits") return trace.output("logits", model.logits(parameters, batch));
    const targets = trace.input("targets", [rows * length], "int32");
    if (kind === "losses") return trace.output("losses", model.tokenLosses(parameters, batch, targets));

    const weights = trace.input("weights", [rows * length], "float32");
    const sums =
      kind === "gradients" ? undefined : specs.map((spec) => trace.input(`sum.${spec.name}`, spec.shape, "float32"));
    const { grads } = tf.engine().gradients(
      () => {
        const losses = model.tokenLosses(parameters, batch, targets);
        trace.output("losses", losses);
        return losses;
      },
      tensors,
      weights,
    );
    for (const [i, spec] of specs.entries()) {
      const total = sums === undefined ? grads[i]! : tf.add(sums[i]!, grads[i]!);
      trace.output(`gradient.${spec.name}`, total);
    }
  });
}
