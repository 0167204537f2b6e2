// Activation recomputation (Chen et al., 2016): of a block only the input is kept for the backward pass, which computes
// the block again, with its activations, before it walks back through it. One forward pass more, and the activations of
// one block at a time instead of all of them.
//
//     forward     x0 -block 0-> x1 -block 1-> x2 -> loss          kept: x0, x1
//     backward    dx2: x1 -block 1-> with activations -> dx1, then x0 -block 0-> with activations -> dx0

import { after } from "./kernels.ts";
import type { Weights } from "./model.ts";
import { differentiable } from "./nn.ts";
import { tf } from "./tf.ts";

/**
 * `block(x, ...constants)`, kept or recomputed as `weights` say, which are those of the block alone. What else the block
 * computes with are constants without gradients: they must be there when it is computed again.
 */
export function recomputed(
  weights: Weights,
  x: tf.Tensor,
  constants: readonly tf.Tensor[],
  block: (x: tf.Tensor, ...constants: tf.Tensor[]) => tf.Tensor,
): tf.Tensor {
  if (weights.trained === undefined) return block(x, ...constants);
  const trained = weights.trained("");
  return differentiable(
    [x, ...trained],
    (save) => {
      save([x, ...constants]);
      return block(x, ...constants);
    },
    (dy, [x, ...constants]) => {
      const again = after(x!, [dy]);
      const [dx, ...rest] = gradientsWithin(() => block(again, ...constants), [again, ...trained], dy);
      // Before the next block: what the gradients of the weights are computed from is not needed any more.
      return [after(dx!, rest), ...rest];
    },
  );
}

/** Gradients inside of a backward pass, whose tape TensorFlow.js would lose otherwise. */
function gradientsWithin(body: () => tf.Tensor, inputs: tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  const { state } = tf.engine();
  const outer = state.activeTape;
  try {
    const { grads } = tf.engine().gradients(body, inputs, dy);
    // What the block does not use has no gradient.
    return inputs.map((input, i) => (grads as (tf.Tensor | undefined)[])[i] ?? tf.zerosLike(input));
  } finally {
    state.activeTape = outer;
  }
}
