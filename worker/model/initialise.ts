// Fresh GPT-2 weights from a seed, distributed as Hugging Face's GPT2PreTrainedModel._init_weights distributes them.
// Every parameter draws from a stream of its own, so a deeper model shares the first blocks of a shallower one.

import { createRandom } from "../../common/random.ts";
import type { Gpt2Config } from "./gpt2-config.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";

/**
 * Fills the flat `parameters`: norm weights 1, biases 0, matrices normal with deviation `initializer_range` (0.02), and residual
 * projections (c_proj) with that over sqrt(2 * n_layer), as in section 2.3 of the GPT-2 paper. The same numbers everywhere.
 */
export function initialiseGpt2(
  config: Gpt2Config,
  layout: ParameterLayout,
  parameters: Float32Array,
  seed: number,
): void {
  for (const spec of layout.specs) {
    const view = viewOf(parameters, spec);
    if (spec.shape.length === 1) {
      view.fill(spec.name.endsWith(".weight") ? 1 : 0);
      continue;
    }
    const scale = spec.name.endsWith(".c_proj.weight") ? 1 / Math.sqrt(2 * config.n_layer) : 1;
    const deviation = config.initializer_range * scale;
    const random = createRandom(seed, `initialise ${spec.name}`);
    for (let i = 0; i < view.length; i++) view[i] = random.normal() * deviation;
  }
}
