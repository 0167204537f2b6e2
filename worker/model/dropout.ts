// Dropout (Srivastava et al., 2014): in training, what a mask does not keep becomes 0 and the rest is scaled so that the
// expectation stays. Without masks, in validation, it is nothing. Where the masks come from is the engines' business.

import type { AttentionDropout } from "./attention.ts";
import { keepWhere } from "./kernels.ts";
import type { Weights } from "./model.ts";
import { differentiable } from "./nn.ts";
import type { tf } from "./tf.ts";

type Masks = Pick<Weights, "mask">;

/** x [rows * n, ...] with its share `rate` dropped, at a place of this name. */
export function dropout({ mask }: Masks, place: string, x: tf.Tensor, rate: number): tf.Tensor {
  if (mask === undefined || rate === 0) return x;
  const scale = 1 / (1 - rate);
  return differentiable(
    [x],
    (save) => {
      const kept = mask(place, x.shape, rate);
      save([kept]);
      return keepWhere(x, kept, scale);
    },
    (dy, [kept]) => [keepWhere(dy, kept!, scale)],
  );
}

/** The same for the probabilities of attention, which come in blocks; undefined where nothing is dropped. */
export function attentionDropout({ mask }: Masks, place: string, rate: number): AttentionDropout | undefined {
  if (mask === undefined || rate === 0) return undefined;
  return { scale: 1 / (1 - rate), mask: (start, shape) => mask(`${place}.${start}`, shape, rate) };
}
