// The weights of a run, divided into what is trained and what stays as it is: all of a model, what no pattern freezes, or
// adapters alone. Gradients, optimizer state and the all-reduce know only the trained part.

import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import type { Obtained } from "../../common/hub/obtain.ts";
import type { FrozenWeights } from "../engine/engine-weights.ts";
import type { TrainingOptions } from "../engine/training-options.ts";
import { withLora, type LoraModel, type LoraSettings } from "../model/lora.ts";
import type { Model } from "../model/model.ts";
import { matcherOf } from "../model/name-patterns.ts";
import { splitLayout, viewOf, type ParameterLayout } from "../model/parameters.ts";
import type { NamedTensor } from "../model/safetensors.ts";

export interface TrainedWeights {
  /** What computes, with its adapters if there are any. */
  readonly model: Model;
  /** The model as its directory has it. */
  readonly base: Model;
  /** `model` again, when it has adapters. */
  readonly lora: LoraModel | undefined;
  readonly trainable: ParameterLayout;
  /** The trained weights, flat, in the order of `trainable`. */
  readonly parameters: Float32Array;
  readonly frozen: FrozenWeights;
  /** What the base is on the Hub, if it is from there. */
  readonly onHub: Obtained["hub"];
}

export interface TrainingChoice {
  readonly lora?: LoraSettings | undefined;
  /** Patterns, see name-patterns.ts. */
  readonly freeze?: Config["train"]["freeze"];
  readonly onHub?: Obtained["hub"];
}

/** Everything that the coordinator says about what is trained and how, in the configuration's own words. */
export interface TrainingSettings extends TrainingChoice {
  readonly label_smoothing?: number;
  readonly recompute?: Config["train"]["recompute"];
  readonly precision?: Config["train"]["precision"];
  readonly bit_identical?: boolean;
  readonly overlap?: Config["train"]["overlap"];
  readonly bucket_mb?: Config["train"]["bucket_mb"];
  readonly compression?: Config["train"]["compression"];
  readonly local_steps?: number;
  readonly outer?: Config["train"]["outer"];
  readonly zero?: Config["train"]["zero"];
}

/** The part of it that engines know. */
export function engineTraining(settings: TrainingSettings, seed: number): TrainingOptions {
  const { label_smoothing = 0, recompute = "none", precision = "fp32" } = settings;
  return { labelSmoothing: label_smoothing, dropoutSeed: seed, recompute, precision };
}

/**
 * Room for the weights of `base`, all 0; `allocate` makes that of the trained ones. Throws `config_invalid` for targets and patterns that name nothing, with what
 * there is, and when nothing is left to train.
 */
export function createTrainedWeights(
  base: Model,
  { lora: settings, freeze = [], onHub }: TrainingChoice = {},
  allocate: (length: number) => Float32Array = (length) => new Float32Array(length),
): TrainedWeights {
  const lora = settings === undefined ? undefined : withLora(base, settings);
  const model = lora ?? base;
  const names = base.layout.specs.map(({ name }) => name);
  const isFrozen = matcherOf(freeze, names, "train.freeze");
  const { trainable, frozen } = splitLayout(model.layout, (name) => lora?.trains(name) ?? !isFrozen(name));
  if (trainable.size === 0) {
    throw new RingtuneError(
      "config_invalid",
      `train.freeze: ${freeze.join(", ")} freezes all ${base.layout.size} parameters of ${base.name}; leave some to train`,
      { details: { frozen: frozen.size } },
    );
  }
  return {
    model,
    base,
    lora,
    trainable,
    parameters: allocate(trainable.size),
    frozen: { layout: frozen, parameters: new Float32Array(frozen.size) },
    onHub,
  };
}

/** Views of the tensors of `layout`, wherever they are. */
export function viewsOf({ trainable, parameters, frozen }: TrainedWeights, layout: ParameterLayout): NamedTensor[] {
  const views = new Map<string, Float32Array>();
  for (const spec of trainable.specs) views.set(spec.name, viewOf(parameters, spec));
  for (const spec of frozen.layout.specs) views.set(spec.name, viewOf(frozen.parameters, spec));
  return layout.specs.map(({ name, shape }) => ({ name, shape, data: views.get(name)! }));
}

/** "training 131,072 of 4,404,736 parameters (2.98%): adapters of rank 8 on 16 layers" */
export function describeTraining({ model, lora, trainable, frozen }: TrainedWeights): string {
  const total = model.layout.size;
  const share = ((100 * trainable.size) / total).toPrecision(3);
  const counts = `training ${count(trainable.size)} of ${count(total)} parameters`;
  if (lora !== undefined) {
    const layers = `${lora.adapted.length} layer${lora.adapted.length === 1 ? "" : "s"}`;
    return `${counts} (${share}%): adapters of rank ${lora.settings.rank} on ${layers}`;
  }
  if (frozen.layout.size === 0) return `training all ${count(total)} parameters`;
  return `${counts} (${share}%): ${frozen.layout.specs.length} of ${model.layout.specs.length} tensors are frozen`;
}

function count(parameters: number): string {
  return parameters.toLocaleString("en-US");
}
