// Fresh weights from a seed, distributed as the model says. Every parameter draws from a stream of its own, so a deeper
// model shares the first blocks of a shallower one.

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
  for (const spec of layout.specs) {
    const view = viewOf(parameters, spec);
    const initial = model.initial(spec);
    if (initial.kind === "constant") {
      view.fill(initial.value);
      continue;
    }
    const random = createRandom(seed, `initialise ${spec.name}`);
    for (let i = 0; i < view.length; i++) view[i] = random.normal() * initial.deviation;
  }
}
