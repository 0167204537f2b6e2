// The compiled engine: for every batch shape the model is traced once, loss and gradients as one ONNX graph, and then
// run by ONNX Runtime on the caller's flat buffers. It holds programs and no copy of the weights, except on a GPU.

import { assert, describeError, RingtuneError } from "../../../common/errors.ts";
import { registerGradients } from "../../model/gradients.ts";
import {
  logitRows,
  targetsPerRow,
  trainedWithin,
  type BatchTensors,
  type Model,
  type Weights,
} from "../../model/model.ts";
import { viewOf, type ParameterLayout } from "../../model/parameters.ts";
import { tf } from "../../model/tf.ts";
import { prepareBatch, sumLosses, type PreparedBatch } from "../batch.ts";
import { resolveWeights, type EngineWeights } from "../engine-weights.ts";
import type { Engine, LossResult, Microbatch, Unchanged } from "../engine.ts";
import { resolveTraining, type TrainingOptions, type WithTraining } from "../training-options.ts";
import { DeviceCopies, release, type Slots } from "./device-memory.ts";
import { createMasks, traceMasks, type MaskPlace } from "./mask-inputs.ts";
import { ProgramCache } from "./program-cache.ts";
import type { Target } from "./graph.ts";
import type { Selection } from "./providers.ts";
import type { Program, Runtime, RuntimeOptions, Slot } from "./runtime.ts";
import { traceModel, type Trace } from "./tracing-backend.ts";

/** "kept" ones stay on the device, to be added to by the next microbatch. */
type Kind = "gradients" | "accumulated gradients" | "losses" | "logits" | `kept ${"" | "accumulated "}gradients`;

const halfTypes = { fp32: undefined, fp16: "float16", bf16: "bfloat16" } as const;

interface TracedProgram extends Program {
  /** Of dropout, to be drawn for every run; left out without. */
  readonly masks?: ReturnType<typeof createMasks>;
}

export interface OnnxEngineOptions extends EngineWeights, WithTraining {
  readonly threads: number;
  readonly selection: Selection;
  readonly profilePrefix?: string;
  /** See Engine.ready. */
  readonly groups?: readonly (readonly string[])[];
}

export function createOnnxEngine(runtime: Runtime, options: OnnxEngineOptions): Engine {
  const { model, parameters, threads, groups = [] } = options;
  const { provider, description, why, gpuUuid } = options.selection;
  const { trainable, frozen } = resolveWeights(options);
  const training = resolveTraining(options.training, model.head, { kind: "onnx", device: provider.name });
  registerGradients();
  const runtimeOptions: RuntimeOptions = {
    provider,
    threads,
    ...(options.profilePrefix === undefined ? {} : { profilePrefix: options.profilePrefix }),
  };
  const { dropoutSeed } = training;
  // Other providers copy outputs to the CPU when everything is computed.
  const signals = provider.name === "cpu" ? groups : [];
  // Memory of their own: small arrays lie where the garbage collector moves them.
  const ready = signals.map((names) => new Float32Array(new ArrayBuffer(4 * names.length)));
  const programs = new ProgramCache<Kind, TracedProgram>(async (rows, length, kind) => {
    const half = kind === "losses" || kind === "logits" ? undefined : halfTypes[training.precision];
    const target = { provider: provider.name, threads, half };
    const shape = { rows, length, target };
    const { model, places } = traceComputation(options.model, trainable, training, shape, kind, signals);
    const keep = kind.startsWith("kept") ? trainable.specs.map(({ name }) => `gradient.${name}`) : [];
    const program = await runtime.load(model, { ...runtimeOptions, keep });
    return places.length === 0 ? program : { ...program, masks: createMasks(runtime, places, rows, dropoutSeed ?? 0) };
  });
  const slotsOf = (prefix: string, layout: ParameterLayout, flat: Float32Array): Record<string, Slot> =>
    Object.fromEntries(
      layout.specs.map((spec) => [prefix + spec.name, runtime.slot(viewOf(flat, spec), spec.shape, "float32")]),
    );
  const trainedSlots = slotsOf("", trainable, parameters);
  const frozenSlots = slotsOf("", frozen.layout, frozen.parameters);
  const onDevice = provider.name === "webgpu";
  const copiesOf = (layout: ParameterLayout, host: Slots): DeviceCopies | undefined =>
    onDevice && layout.specs.length > 0
      ? new DeviceCopies(layout, host, { provider: provider.name, threads }, (model, keep) =>
          runtime.load(model, { ...runtimeOptions, keep }),
        )
      : undefined;
  const trainedCopies = copiesOf(trainable, trainedSlots);
  const frozenCopies = copiesOf(frozen.layout, frozenSlots);
  const weightSlots = async (unchanged: Unchanged | undefined): Promise<Slots> => ({
    ...((await trainedCopies?.get(unchanged === "all")) ?? trainedSlots),
    ...((await frozenCopies?.get(unchanged !== undefined)) ?? frozenSlots),
  });
  const readySlots = Object.fromEntries(
    ready.map((numbers, i) => [readyName(i), runtime.slot(numbers, [numbers.length], "float32")]),
  );
  /** The sum that the last call left on the device, and the buffer to which it belongs. */
  let kept: { readonly slots: Slots; readonly gradients: Float32Array } | undefined;
  const gradientSlots = new WeakMap<Float32Array, { read: Record<string, Slot>; write: Record<string, Slot> }>();
  const slotsOfGradients = (flat: Float32Array): { read: Record<string, Slot>; write: Record<string, Slot> } => {
    const known = gradientSlots.get(flat);
    if (known !== undefined) return known;
    const made = { read: slotsOf("sum.", trainable, flat), write: slotsOf("gradient.", trainable, flat) };
    gradientSlots.set(flat, made);
    return made;
  };
  const batchSlots = async (
    { tokens, ids, attentionMask, tokenTypeIds }: PreparedBatch,
    unchanged?: Unchanged,
  ): Promise<Slots> => ({
    ...(await weightSlots(unchanged)),
    ids: runtime.slot(ids, [tokens], "int32"),
    ...(attentionMask && { attentionMask: runtime.slot(attentionMask, [tokens], "float32") }),
    ...(tokenTypeIds && { tokenTypeIds: runtime.slot(tokenTypeIds, [tokens], "int32") }),
  });
  const targetSlot = ({ targets }: PreparedBatch): Slot => runtime.slot(targets, [targets.length], "int32");
  const run = async (batch: Microbatch, kind: Kind, body: (program: TracedProgram) => Promise<void>): Promise<void> => {
    await programs.use(batch.rows, batch.length, kind, body).catch((cause: unknown) => {
      if (!describeError(cause).includes("requires f16")) throw cause;
      const message = `train.precision: fp16 can't be computed by ${description}, which lacks WebGPU's shader-f16; use fp32`;
      throw new RingtuneError("config_invalid", message, { cause, details: { device: description } });
    });
  };

  return {
    description: [
      `onnx ${description}`,
      ...(provider.name === "cpu" ? [`${threads} thread${threads === 1 ? "" : "s"}`] : []),
      ...(training.precision === "fp32" ? [] : [training.precision]),
    ].join(", "),
    why,
    gpuUuid,
    layout: trainable,
    parameters,
    ready: ready.length === 0 ? undefined : ready,

    async gradients(microbatch, { weight, accumulate, gradients, unchanged, draw, more = false }): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, weight);
      const slots = slotsOfGradients(gradients);
      const count = batch.targets.length;
      let losses = new Float32Array(count);
      const before = kept;
      kept = undefined;
      try {
        const inputs = {
          ...(await batchSlots(batch, unchanged)),
          targets: targetSlot(batch),
          weights: runtime.slot(batch.weights, [count], "float32"),
          ...(accumulate ? (before?.gradients === gradients ? before.slots : slots.read) : {}),
        };
        const withMasks = ({ masks }: TracedProgram): Slots => {
          if (masks === undefined) return inputs;
          assert(draw !== undefined, "an engine with dropout was not told which rows it computes");
          return { ...inputs, ...masks.draw(draw) };
        };
        const kind = accumulate ? "accumulated gradients" : "gradients";
        if (more && onDevice) {
          await run(microbatch, `kept ${kind}`, async (program) => {
            const { losses: computed, ...sums } = await program.compute(withMasks(program));
            losses = computed!.data as Float32Array<ArrayBuffer>;
            const named = trainable.specs.map(({ name }) => [`sum.${name}`, sums[`gradient.${name}`]!] as const);
            kept = { slots: Object.fromEntries(named), gradients };
          });
        } else {
          await run(microbatch, kind, (program) =>
            program.run(withMasks(program), {
              ...slots.write,
              ...readySlots,
              losses: runtime.slot(losses, [count], "float32"),
            }),
          );
        }
      } finally {
        release(before?.slots);
      }
      return sumLosses(losses, microbatch);
    },

    async loss(microbatch, { unchanged } = {}): Promise<LossResult> {
      const batch = prepareBatch(model, microbatch, 1);
      const losses = new Float32Array(batch.targets.length);
      const inputs = { ...(await batchSlots(batch, unchanged)), targets: targetSlot(batch) };
      await run(microbatch, "losses", (program) =>
        program.run(inputs, { losses: runtime.slot(losses, [losses.length], "float32") }),
      );
      return sumLosses(losses, microbatch);
    },

    async logits(microbatch, { unchanged } = {}): Promise<Float32Array> {
      const batch = prepareBatch(model, microbatch, 1);
      const shape = [logitRows(model.head, microbatch.rows, microbatch.length), model.outputs] as const;
      const logits = new Float32Array(shape[0] * shape[1]);
      const inputs = await batchSlots(batch, unchanged);
      await run(microbatch, "logits", (program) =>
        program.run(inputs, { logits: runtime.slot(logits, shape, "float32") }),
      );
      return logits;
    },

    async close() {
      release(kept?.slots);
      await trainedCopies?.close();
      await frozenCopies?.close();
      await programs.close();
    },
  };
}

/** Serialised ONNX model of one kind of computation for one batch shape. */
function traceComputation(
  model: Model,
  trainable: ParameterLayout,
  { labelSmoothing, dropoutSeed, recompute }: TrainingOptions,
  { rows, length, target }: { rows: number; length: number; target: Target },
  kind: Kind,
  signals: readonly (readonly string[])[],
): { readonly model: Uint8Array; readonly places: readonly MaskPlace[] } {
  const places: MaskPlace[] = [];
  const traced = traceModel(target, (trace) => {
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
      kind === "gradients" || kind === "kept gradients"
        ? undefined
        : specs.map((spec) => trace.input(`sum.${spec.name}`, spec.shape, "float32"));
    const training: Weights = {
      ...weights,
      ...(dropoutSeed === undefined ? {} : { mask: traceMasks(trace, places) }),
      ...(recompute === "none" ? {} : { trained: (part) => trainedWithin(trainable, part, weights) }),
    };
    // What is computed for the gradients of frozen parameters ends nowhere, and the graph drops it.
    const { grads } = tf.engine().gradients(
      () => {
        const losses = model.losses(training, batch, targets, labelSmoothing);
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
    for (const [i, names] of signals.entries()) {
      trace.signal(
        readyName(i),
        names.map((name) => `gradient.${name}`),
      );
    }
  });
  return { model: traced, places };
}

function readyName(group: number): string {
  return `ready.${group}`;
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
