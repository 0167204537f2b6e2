// LoRA (Hu et al., 2021): thin matrices A and B beside linear layers, trained while the model itself stays as it is. A
// model with adapters is a Model like any other, whose layout has the adapters too, under the names that PEFT saves.
// The files are in adapter-files.ts; the arithmetic is in low-rank.ts.

import type { Config } from "../../common/config/schema.ts";
import { RingtuneError } from "../../common/errors.ts";
import { dropout } from "./dropout.ts";
import { addLowRank } from "./low-rank.ts";
import type { LinearModule, Model, Weights } from "./model.ts";
import { describeNames } from "./name-patterns.ts";
import { createLayout } from "./parameters.ts";

export type LoraSettings = Pick<NonNullable<Config["lora"]>, "rank" | "alpha" | "rslora" | "target_modules"> & {
  /** Share of the inputs of A that is dropped in training. Left out: 0. */
  readonly dropout?: number;
};

export interface LoraModel extends Model {
  readonly base: Model;
  readonly settings: LoraSettings;
  /** The layers with adapters. */
  readonly adapted: readonly LinearModule[];
  /** Whether a parameter of the layout is trained: the adapters are, and the head of a classifier. */
  trains(name: string): boolean;
}

/** Where PEFT hangs the model in its own. */
export const peftPrefix = "base_model.model.";

/** What the adapter's product is multiplied with: alpha / rank, for rsLoRA (Kalajdzievski, 2023) alpha / sqrt(rank). */
export function loraScale({ rank, alpha, rslora }: Pick<LoraSettings, "rank" | "alpha" | "rslora">): number {
  return alpha / (rslora ? Math.sqrt(rank) : rank);
}

/** PEFT's names of the two matrices of `module`: A is [rank, inputs], B is [outputs, rank]. */
export function adapterNames(module: string): { readonly a: string; readonly b: string } {
  return { a: `${peftPrefix}${module}.lora_A.weight`, b: `${peftPrefix}${module}.lora_B.weight` };
}

/**
 * `base` with adapters on the linear layers that `target_modules` names. Computes what `base` computes as long as B is 0,
 * with which it starts. Throws `config_invalid` that lists the layers that exist when a target is none of them.
 */
export function withLora(base: Model, settings: LoraSettings): LoraModel {
  const adapted = selectLinears(base, settings.target_modules);
  const { rank } = settings;
  const scale = loraScale(settings);
  const names = new Map(adapted.map(({ name }) => [name, adapterNames(name)]));
  const inputsOf = new Map(adapted.map(({ name, inputs }) => [adapterNames(name).a, inputs]));
  const adapters = adapted.flatMap(({ name, inputs, outputs }) => [
    { name: adapterNames(name).a, shape: [rank, inputs] },
    { name: adapterNames(name).b, shape: [outputs, rank] },
  ]);
  const withAdapters = (weights: Weights): Weights => ({
    ...weights,
    adapt(module, x, y) {
      const own = names.get(module);
      if (own === undefined) return y;
      const seen = dropout(weights, `${module}.lora_dropout`, x, settings.dropout ?? 0);
      return addLowRank(seen, y, weights.tensor(own.a), weights.tensor(own.b), scale);
    },
  });
  return {
    ...base,
    name: `${base.name}, with adapters of rank ${rank} on ${adapted.length} layers`,
    base,
    settings,
    adapted,
    layout: createLayout([...base.layout.specs, ...adapters]),
    trains: (name) => name.startsWith(peftPrefix) || isNewHead(base, name),
    // PEFT's kaiming_uniform_(a = sqrt(5)), which is uniform within 1 / sqrt(inputs).
    initial(tensor) {
      const inputs = inputsOf.get(tensor.name);
      if (inputs !== undefined) return { kind: "uniform", bound: 1 / Math.sqrt(inputs) };
      return tensor.name.startsWith(peftPrefix) ? { kind: "constant", value: 0 } : base.initial(tensor);
    },
    losses: (weights, ...others) => base.losses(withAdapters(weights), ...others),
    logits: (weights, batch) => base.logits(withAdapters(weights), batch),
  };
}

/** A target is the end of a layer's name, as in PEFT: "c_attn", "attn.c_proj", or all of it. */
function selectLinears(base: Model, targets: LoraSettings["target_modules"]): readonly LinearModule[] {
  if (targets === "all-linear") return base.linears;
  const matches = (name: string, target: string): boolean => name === target || name.endsWith(`.${target}`);
  const unmatched = targets.filter((target) => !base.linears.some(({ name }) => matches(name, target)));
  if (unmatched.length > 0) {
    const [verb, they] = unmatched.length === 1 ? ["names", "it"] : ["name", "they"];
    throw new RingtuneError(
      "config_invalid",
      `lora.target_modules: ${unmatched.join(", ")} ${verb} no linear layer of ${base.name}; ${they} must be the end of one of ${describeNames(base.linears.map(({ name }) => name))}, or all-linear`,
      { details: { unmatched: unmatched.join(), layers: base.linears.length } },
    );
  }
  return base.linears.filter(({ name }) => targets.some((target) => matches(name, target)));
}

/** A classifier's head begins untrained, so it is trained with the adapters; PEFT does the same. */
function isNewHead({ head, files }: Model, name: string): boolean {
  const classifies = head.kind === "sequence-classification" || head.kind === "token-classification";
  return classifies && files.heads?.test(name) === true;
}
