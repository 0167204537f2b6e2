// Fresh weights from a seed, distributed as the model says. Every parameter draws from a stream of its own, so a deeper
// model shares the first blocks of a shallower one, and a new head does not depend on what it is put on.

import { createRandom } from "../../common/random.ts";
import type { Model } from "./model.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";

/**
 * Fills the flat `parameters` of `layout`, which may be a part of the model's own, with initial weights: the same
 * numbers for the same seed on every machine.
 */
export function initialiseParameters(
  model: Pick<Model, "initial">,
  layout: ParameterLayout,
  parameters: Float32Array,
  seed: number,
): void {
  for (const spec of layout.specs) initialiseTensor(model, spec, viewOf(parameters, spec), seed);
}

/** The same for one tensor. */
export function initialiseTensor(
  model: Pick<Model, "initial">,
  tensor: { readonly name: string; readonly shape: readonly number[] },
  into: Float32Array,
  seed: number,
): void {
  const initial = model.initial(tensor);
  if (initial.kind === "constant") {
    into.fill(initial.value);
    return;
  }
  const random = createRandom(seed, `initialise ${tensor.name}`);
  const draw =
    initial.kind === "normal"
      ? () => random.normal() * initial.deviation
      : () => (2 * random.next() - 1) * initial.bound;
  for (let i = 0; i < into.length; i++) into[i] = draw();
}
