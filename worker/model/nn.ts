// The layers that language models are made of, each with its own closed-form gradient, in plain TensorFlow.js.
// Tokens are rows: activations are [tokens, width] with tokens = rows * length. No parameters live here and no
// randomness: what is passed in decides what comes out. Attention is in attention.ts, losses are in losses.ts.

import {
  blockwise,
  geluA,
  geluC,
  geluErfForward,
  geluTanhForward,
  layerNormWithStatistics,
  rmsNormWithStatistics,
  rotateHalf,
  transposedMatMulWithBias,
} from "./kernels.ts";
import { tf } from "./tf.ts";

type Tensor = tf.Tensor;
type Save = (tensors: Tensor[]) => void;

/**
 * An operation with a gradient of its own. `forward` saves what `backward` needs, which returns d/d(input) for every
 * input. What is not saved may be gone by the time that backward runs.
 */
export function differentiable(
  inputs: readonly Tensor[],
  forward: (save: Save) => Tensor,
  backward: (dy: Tensor, saved: Tensor[]) => Tensor[],
): Tensor {
  const operation = tf.customGrad((...args: (Tensor | tf.GradSaveFunc)[]) => ({
    value: forward(args.at(-1) as Save),
    gradFunc: (dy: Tensor, saved: Tensor[]) => backward(dy, saved),
  }));
  return operation(...inputs);
}

/** Rows `ids` [tokens] (int32) of `table` [count, width]. The gradient adds up repeated ids. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const [count, width] = table.shape as [number, number];
  return differentiable(
    [table],
    (save) => {
      save([ids]);
      return tf.gather(table, ids);
    },
    (dy, [ids]) => [tf.scatterND(tf.expandDims(ids!, 1), dy, [count, width])],
  );
}

/**
 * x [rows * length, width] plus `length` rows of `table` [positions, width] from row `first` on, the same for each of
 * `rows`.
 */
export function addPositions(x: Tensor, table: Tensor, rows: number, length: number, first = 0): Tensor {
  const [, width] = table.shape as [number, number];
  const positions = tf.slice(table, [first, 0], [length, width]);
  return tf.reshape(tf.add(tf.reshape(x, [rows, length, width]), positions), [rows * length, width]);
}

/** x [tokens, in] times weight [in, out] (Hugging Face's Conv1D layout) plus bias [out]. */
export function conv1d(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  return differentiable(
    [x, weight, bias],
    (save) => {
      save([x, weight]);
      return tf.fused.matMul({ a: x, b: weight, bias });
    },
    (dy, [x, weight]) => [tf.matMul(dy, weight!, false, true), tf.matMul(x!, dy, true, false), tf.sum(dy, 0)],
  );
}

/** x [tokens, in] times weight [out, in] transposed (PyTorch's Linear layout), plus bias [out] if there is one. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return differentiable(
    bias === undefined ? [x, weight] : [x, weight, bias],
    (save) => {
      save([x, weight]);
      return bias ? transposedMatMulWithBias(x, weight, bias) : tf.matMul(x, weight, false, true);
    },
    (dy, [x, weight]) => {
      const [dx, dWeight] = [tf.matMul(dy, weight!), tf.matMul(dy, x!, true, false)];
      return bias === undefined ? [dx, dWeight] : [dx, dWeight, tf.sum(dy, 0)];
    },
  );
}

/** Layer normalisation over the last dimension (Ba, Kiros and Hinton, 2016). */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: number): Tensor {
  const width = x.shape.at(-1)!;
  return differentiable(
    [x, weight, bias],
    (save) => {
      const [y, mean, inverseStd] = layerNormWithStatistics(x, weight, bias, epsilon);
      save([x, weight, mean, inverseStd]);
      return y;
    },
    (dy, [x, weight, mean, inverseStd]) => {
      const normalised = tf.mul(tf.sub(x!, mean!), inverseStd!);
      const product = tf.mul(dy, normalised);
      const g = tf.mul(dy, weight!);
      // mean(g) and mean(g * normalised) over each row, as products with the weight vector.
      const column = tf.reshape(tf.mul(weight!, 1 / width), [width, 1]);
      const meanG = tf.matMul(dy, column);
      const meanGN = tf.matMul(product, column);
      const dx = tf.mul(tf.sub(tf.sub(g, meanG), tf.mul(normalised, meanGN)), inverseStd!);
      return [dx, tf.sum(product, 0), tf.sum(dy, 0)];
    },
  );
}

/** Root mean square normalisation over the last dimension (Zhang and Sennrich, 2019): x / sqrt(mean(x^2) + epsilon) * weight. */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const width = x.shape.at(-1)!;
  return differentiable(
    [x, weight],
    (save) => {
      const [y, inverse] = rmsNormWithStatistics(x, weight, epsilon);
      save([x, weight, inverse]);
      return y;
    },
    (dy, [x, weight, inverse]) => {
      const normalised = tf.mul(x!, inverse!);
      const product = tf.mul(dy, normalised);
      // mean(dy * weight * normalised) over each row, as a product with the weight vector.
      const mean = tf.matMul(product, tf.reshape(tf.mul(weight!, 1 / width), [width, 1]));
      const dx = tf.mul(tf.sub(tf.mul(dy, weight!), tf.mul(normalised, mean)), inverse!);
      return [dx, tf.sum(product, 0)];
    },
  );
}

/**
 * Rotary position embedding (Su et al., 2021) of x [rows * length, heads * head], on every head: dimension i turns with
 * dimension i + head / 2, as Hugging Face's rotate_half has it. `cos` and `sin` are [length, head / 2].
 *
 *     y1 = x1 cos - x2 sin    y2 = x2 cos + x1 sin    and back: the same with -sin
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor, rows: number): Tensor {
  const [length] = cos.shape as [number];
  const [tokens, width] = x.shape as [number, number];
  const turned = (x: Tensor, cos: Tensor, sin: Tensor): Tensor =>
    tf.reshape(rotateHalf(tf.reshape(x, [rows, length, width]), cos, sin), [tokens, width]);
  return differentiable(
    [x],
    (save) => {
      save([cos, sin]);
      return turned(x, cos, sin);
    },
    (dy, [cos, sin]) => [turned(dy, cos!, tf.neg(sin!))],
  );
}

/** silu(gate) * up, the gate of SwiGLU (Shazeer, 2020); silu(x) = x sigmoid(x). */
export function gatedSilu(gate: Tensor, up: Tensor): Tensor {
  return differentiable(
    [gate, up],
    (save) => {
      const s = tf.sigmoid(gate);
      const h = tf.mul(gate, s);
      save([up, s, h]);
      return tf.mul(h, up);
    },
    // silu' = s + h (1 - s) = h + s (1 - h)
    (dy, saved) =>
      blockwise([dy, ...saved], (dy, up, s, h) => {
        const slope = tf.add(h, tf.mul(s, tf.sub(1, h)));
        return [tf.mul(tf.mul(dy, up), slope), tf.mul(dy, h)];
      }),
  );
}

/** The hyperbolic tangent. */
export function tanh(x: Tensor): Tensor {
  return differentiable(
    [x],
    (save) => {
      const y = tf.tanh(x);
      save([y]);
      return y;
    },
    (dy, [y]) => [tf.mul(dy, tf.sub(1, tf.mul(y!, y!)))],
  );
}

/** max(x, 0) */
export function relu(x: Tensor): Tensor {
  return differentiable(
    [x],
    (save) => {
      const y = tf.relu(x);
      save([y]);
      return y;
    },
    (dy, [y]) => [tf.mul(dy, tf.cast(tf.greater(y!, 0), "float32"))],
  );
}

/** The first token of each row: x [rows * length, width] to [rows, width]. */
export function firstTokens(x: Tensor, rows: number): Tensor {
  const [tokens, width] = x.shape as [number, number];
  const length = tokens / rows;
  return tf.reshape(tf.slice(tf.reshape(x, [rows, length, width]), [0, 0, 0], [rows, 1, width]), [rows, width]);
}

/** GELU (Hendrycks and Gimpel, 2016); "gelu_new" is the tanh form, "gelu" the exact one. */
export function gelu(x: Tensor, form: "gelu_new" | "gelu"): Tensor {
  const [forward, derivative] =
    form === "gelu_new" ? [geluTanhForward, geluTanhDerivative] : [geluErfForward, geluErfDerivative];
  return differentiable(
    [x],
    (save) => {
      const y = forward(x);
      save([x, y]);
      return y;
    },
    (dy, [x, y]) => blockwise([dy, x!, y!], (dy, x, y) => [tf.mul(derivative(x, y), dy)]),
  );
}

// y = x s with s = sigmoid(z), z = x (2c + 2ca x^2), so y' = s + (1 - s) g with g = y dz/dx: 11 passes over x, where
// the obvious x s (1 - s) dz/dx + s takes 12 and does not use y.
function geluTanhDerivative(x: Tensor, y: Tensor): Tensor {
  const square = tf.mul(x, x);
  const s = tf.sigmoid(tf.mul(x, tf.add(tf.mul(square, 2 * geluC * geluA), 2 * geluC)));
  const g = tf.mul(y, tf.add(tf.mul(square, 6 * geluC * geluA), 2 * geluC));
  return tf.add(g, tf.mul(s, tf.sub(1, g)));
}

// y' = Phi(x) + x phi(x)
function geluErfDerivative(x: Tensor): Tensor {
  const cumulative = tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);
  const density = tf.exp(tf.mul(tf.mul(x, x), -0.5));
  return tf.add(cumulative, tf.mul(tf.mul(x, density), 1 / Math.sqrt(2 * Math.PI)));
}
