// The weights of an engine: those that are trained and those that are not, each in a flat buffer of its own. Together they
// are the model's parameters; only the trained ones ever get gradients.

import { assert } from "../../common/errors.ts";
import type { Model } from "../model/model.ts";
import type { ParameterLayout } from "../model/parameters.ts";

/** Parameters without gradients. */
export interface FrozenWeights {
  readonly layout: ParameterLayout;
  /** Flat, in the order of `layout`. Read at every call, like the trained ones, so they may be loaded later. */
  readonly parameters: Float32Array;
}

export interface EngineWeights {
  readonly model: Model;
  /** The trained weights, flat, in the order of `trainable`; the engine reads them at every call and never writes. */
  readonly parameters: Float32Array;
  /**
   * Which parameters of the model are trained (`splitLayout` gives both parts). Gradients, and the engine's `layout`, are
   * in this order. Left out: the model's whole layout, and nothing is frozen.
   */
  readonly trainable?: ParameterLayout;
  readonly frozen?: FrozenWeights;
}

const nothing: FrozenWeights = { layout: { specs: [], size: 0 }, parameters: new Float32Array(0) };

/** The parts with their defaults. They must be exactly the model's parameters, or this is a programmer's mistake. */
export function resolveWeights({ model, parameters, trainable = model.layout, frozen = nothing }: EngineWeights): {
  readonly trainable: ParameterLayout;
  readonly frozen: FrozenWeights;
} {
  for (const [what, flat, layout] of [
    ["trained", parameters, trainable],
    ["frozen", frozen.parameters, frozen.layout],
  ] as const) {
    assert(
      flat.length === layout.size,
      `${flat.length} ${what} parameters were given, ${model.name} has ${layout.size} of them`,
    );
  }
  const given = new Map([...trainable.specs, ...frozen.layout.specs].map(({ name, shape }) => [name, shape]));
  const { specs } = model.layout;
  const count = trainable.specs.length + frozen.layout.specs.length;
  assert(count === specs.length, `${count} tensors are trained or frozen, ${model.name} has ${specs.length}`);
  for (const { name, shape } of specs) {
    const found = given.get(name);
    assert(
      found?.join() === shape.join(),
      `${name} is [${found?.join(", ")}], ${model.name} has [${shape.join(", ")}]`,
    );
  }
  return { trainable, frozen };
}
