// What an adapter computes: a product of two thin matrices added to a layer's result (LoRA; Hu et al., 2021). Which layers
// have one, and how they are named and kept, is in lora.ts.

import { scaledMatMul } from "./kernels.ts";
import { differentiable } from "./nn.ts";
import { tf } from "./tf.ts";

/**
 * y + scale * (x a') b' for x [tokens, inputs], y [tokens, outputs], a [rank, inputs] and b [outputs, rank].
 *
 *     h = scale x a'      dh = scale dy b      da = dh' x      db = dy' h      dx = dh a      dy passes as it is
 */
export function addLowRank(x: tf.Tensor, y: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number): tf.Tensor {
  return differentiable(
    [x, y, a, b],
    (save) => {
      const h = scaledMatMul(x, a, scale, false, true);
      save([x, a, b, h]);
      return tf.add(y, tf.matMul(h, b, false, true));
    },
    (dy, saved) => {
      const [x, a, b, h] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const dh = scaledMatMul(dy, b, scale);
      return [tf.matMul(dh, a), dy, tf.matMul(dh, x, true, false), tf.matMul(dy, h, true, false)];
    },
  );
}
