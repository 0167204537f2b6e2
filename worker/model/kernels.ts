// Tensor operations that TensorFlow.js lacks and that a backend may offer as one kernel of its own.
// Where the current backend has no such kernel the same result is composed of stock operations, so models run on every
// backend. None of these is differentiable by itself: the layers in nn.ts give the gradients.

import { tf } from "./tf.ts";

/** Names under which a backend may register these kernels. */
export const scaledMatMulKernel = "RingtuneScaledMatMul";
export const layerNormKernel = "RingtuneLayerNorm";
export const rmsNormKernel = "RingtuneRmsNorm";
export const rotaryKernel = "RingtuneRotary";
export const geluTanhKernel = "RingtuneGeluTanh";
export const geluErfKernel = "RingtuneGeluErf";
export const blockwiseKernel = "RingtuneBlockwise";
export const keepKernel = "RingtuneKeep";
export const afterKernel = "RingtuneAfter";

export interface ScaledMatMulAttrs extends tf.NamedAttrMap {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly scale: number;
}

export interface LayerNormAttrs extends tf.NamedAttrMap {
  readonly epsilon: number;
}

export interface BlockwiseAttrs {
  readonly body: (...blocks: tf.Tensor[]) => tf.Tensor[];
}

/**
 * What `body` computes from `inputs`, which have equally many rows and are independent of one another in `body`. A backend
 * may call it on blocks of rows and put the results below one another, so a sum over rows is a row for each block. Of other
 * tensors the body uses parameters and constants only.
 */
export function blockwise(inputs: readonly tf.Tensor[], body: BlockwiseAttrs["body"]): tf.Tensor[] {
  if (!offers(blockwiseKernel)) return body(...inputs);
  return tf.engine().runKernel<tf.Tensor[]>(
    blockwiseKernel,
    { ...inputs } as unknown as tf.NamedTensorMap,
    {
      body,
    } as unknown as tf.NamedAttrMap,
  );
}

/** scale * a b over the last two dimensions, each transposed on request. */
export function scaledMatMul(
  a: tf.Tensor,
  b: tf.Tensor,
  scale: number,
  transposeA = false,
  transposeB = false,
): tf.Tensor {
  if (!offers(scaledMatMulKernel)) return tf.mul(tf.matMul(a, b, transposeA, transposeB), scale);
  const attrs: ScaledMatMulAttrs = { transposeA, transposeB, scale };
  return tf.engine().runKernel<tf.Tensor>(scaledMatMulKernel, { a, b }, attrs);
}

/** a [rows, inner] times b [columns, inner] transposed, plus bias [columns]. */
export function transposedMatMulWithBias(a: tf.Tensor, b: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  // tfjs-backend-wasm 4.22 adds the bias of another column from the second row on when b is transposed.
  if (tf.getBackend() === "wasm") return tf.add(tf.matMul(a, b, false, true), bias);
  return tf.fused.matMul({ a, b, transposeB: true, bias });
}

/** Layer normalisation over the last dimension: [normalised * weight + bias, mean, 1 / standard deviation]. */
export function layerNormWithStatistics(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor,
  epsilon: number,
): [y: tf.Tensor, mean: tf.Tensor, inverseStd: tf.Tensor] {
  if (offers(layerNormKernel)) {
    const attrs: LayerNormAttrs = { epsilon };
    const [y, mean, inverseStd] = tf.engine().runKernel<tf.Tensor[]>(layerNormKernel, { x, weight, bias }, attrs);
    return [y!, mean!, inverseStd!];
  }
  const mean = tf.mean(x, -1, true);
  const centred = tf.sub(x, mean);
  const inverseStd = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon));
  return [tf.add(tf.mul(tf.mul(centred, inverseStd), weight), bias), mean, inverseStd];
}

/** Root mean square normalisation over the last dimension: [x * inverse * weight, inverse = 1 / sqrt(mean(x^2) + epsilon)]. */
export function rmsNormWithStatistics(
  x: tf.Tensor,
  weight: tf.Tensor,
  epsilon: number,
): [y: tf.Tensor, inverse: tf.Tensor] {
  if (offers(rmsNormKernel)) {
    const attrs: LayerNormAttrs = { epsilon };
    const [y, inverse] = tf.engine().runKernel<tf.Tensor[]>(rmsNormKernel, { x, weight }, attrs);
    return [y!, inverse!];
  }
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return [tf.mul(tf.mul(x, inverse), weight), inverse];
}

/** x [rows, length, heads * head] with the two halves of every head turned by the angles of `cos`, `sin` [length, head / 2]. */
export function rotateHalf(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor {
  if (offers(rotaryKernel)) return tf.engine().runKernel<tf.Tensor>(rotaryKernel, { x, cos, sin });
  const [rows, length, width] = x.shape as [number, number, number];
  const half = cos.shape[1]!;
  const heads = width / (2 * half);
  const split = tf.reshape(x, [rows * length, heads, 2, half]);
  const [first, second] = tf.split(split, 2, 2).map((part) => tf.reshape(part, [rows, length, heads, half]));
  const [c, s] = [cos, sin].map((angles) => tf.reshape(angles, [length, 1, half]));
  const turned = tf.stack(
    [tf.sub(tf.mul(first!, c!), tf.mul(second!, s!)), tf.add(tf.mul(second!, c!), tf.mul(first!, s!))],
    3,
  );
  return tf.reshape(turned, [rows, length, width]);
}

/**
 * x, but not computed before `events` are: a compiled graph neither moves what follows from it to an earlier place nor
 * takes it for what was computed from x before. Elsewhere operations run in the order in which they are called.
 */
export function after(x: tf.Tensor, events: readonly tf.Tensor[]): tf.Tensor {
  if (!offers(afterKernel)) return x;
  const named = Object.fromEntries(events.map((event, i) => [`event${i}`, event]));
  return tf.engine().runKernel<tf.Tensor>(afterKernel, { x, ...named });
}

/** x where `mask` (bool, of the same size) is true, 0 elsewhere, times `scale`. */
export function keepWhere(x: tf.Tensor, mask: tf.Tensor, scale = 1): tf.Tensor {
  const shaped = tf.reshape(mask, x.shape);
  const kept = offers(keepKernel)
    ? tf.engine().runKernel<tf.Tensor>(keepKernel, { x, mask: shaped })
    : tf.mul(x, tf.cast(shaped, "float32"));
  return scale === 1 ? kept : tf.mul(kept, scale);
}

/** x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), Hendrycks and Gimpel's approximation. */
export function geluTanhForward(x: tf.Tensor): tf.Tensor {
  if (offers(geluTanhKernel)) return tf.engine().runKernel<tf.Tensor>(geluTanhKernel, { x });
  return tf.mul(x, tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), 2 * geluC * geluA), 2 * geluC))));
}

/** x / 2 (1 + erf(x / sqrt(2))). */
export function geluErfForward(x: tf.Tensor): tf.Tensor {
  if (offers(geluErfKernel)) return tf.engine().runKernel<tf.Tensor>(geluErfKernel, { x });
  return tf.mul(x, tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5));
}

/** sqrt(2 / pi) */
export const geluC = Math.sqrt(2 / Math.PI);
export const geluA = 0.044715;

function offers(kernelName: string): boolean {
  return tf.getKernel(kernelName, tf.getBackend()) !== undefined;
}
