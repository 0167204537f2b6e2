// The layers that language models are made of, each with its own closed-form gradient, in plain TensorFlow.js.
// Tokens are rows: activations are [tokens, width] with tokens = rows * length. No parameters live here and no
// randomness: what is passed in decides what comes out.

import { geluA, geluC, geluErfForward, geluTanhForward, layerNormWithStatistics, scaledMatMul } from "./kernels.ts";
import { tf } from "./tf.ts";

type Tensor = tf.Tensor;
type Save = (tensors: Tensor[]) => void;

/**
 * An operation with a gradient of its own. `forward` saves what `backward` needs, which returns d/d(input) for every
 * input. What is not saved may be gone by the time that backward runs, unless the caller keeps it alive.
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
    () => tf.gather(table, ids),
    (dy) => [tf.scatterND(tf.expandDims(ids, 1), dy, [count, width])],
  );
}

/** The first `length` rows of `table` [positions, width], repeated for each of `rows`: [rows * length, width]. */
export function addPositions(x: Tensor, table: Tensor, rows: number, length: number): Tensor {
  const [, width] = table.shape as [number, number];
  const positions = tf.slice(table, [0, 0], [length, width]);
  return tf.reshape(tf.add(tf.reshape(x, [rows, length, width]), positions), [rows * length, width]);
}

/** x [tokens, in] times weight [in, out] (Hugging Face's Conv1D layout) plus bias [out]. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  return differentiable(
    [x, weight, bias],
    (save) => {
      save([x, weight]);
      return tf.fused.matMul({ a: x, b: weight, bias });
    },
    (dy, [x, weight]) => [tf.matMul(dy, weight!, false, true), tf.matMul(x!, dy, true, false), tf.sum(dy, 0)],
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
    (dy, [x, y]) => [tf.mul(derivative(x!, y!), dy)],
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

export interface AttentionShape {
  readonly rows: number;
  readonly length: number;
  readonly heads: number;
  /** Factor on the scores, usually 1 / sqrt(head width). */
  readonly scale: number;
}

/**
 * Multi-head attention in which a token sees itself and what is before it (Vaswani et al., 2017).
 * `qkv` is [tokens, 3 * width] (queries, keys, values); the result is [tokens, width].
 *
 *     P = softmax(scale q k' + mask)    o = P v
 *     dv = P' do    dS = P * (do v' - rowsum(do * o))    dq = scale dS k    dk = scale dS' q
 */
export function causalAttention(qkv: Tensor, { rows, length, heads, scale }: AttentionShape): Tensor {
  const width = qkv.shape[1]! / 3;
  const head = width / heads;
  const splitHeads = (x: Tensor): Tensor =>
    tf.reshape(tf.transpose(tf.reshape(x, [rows, length, heads, head]), [0, 2, 1, 3]), [rows * heads, length, head]);
  return differentiable(
    [qkv],
    (save) => {
      const packed = tf.transpose(tf.reshape(qkv, [rows, length, 3, heads, head]), [2, 0, 3, 1, 4]);
      const [q, k, v] = tf.split(packed, 3, 0).map((part) => tf.reshape(part, [rows * heads, length, head])) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const p = tf.softmax(tf.add(scaledMatMul(q, k, scale, false, true), causalMask(length)));
      const o = tf.reshape(tf.transpose(tf.reshape(tf.matMul(p, v), [rows, heads, length, head]), [0, 2, 1, 3]), [
        rows * length,
        width,
      ]);
      save([q, k, v, p, o]);
      return o;
    },
    (dOut, saved) => {
      const [q, k, v, p, o] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const dO = splitHeads(dOut);
      const products = tf.reshape(tf.mul(dOut, o), [rows, length, heads, head]);
      const rowSums = tf.reshape(tf.transpose(tf.sum(products, -1), [0, 2, 1]), [rows * heads, length, 1]);
      const dS = tf.mul(p, tf.sub(tf.matMul(dO, v, false, true), rowSums));
      const dq = scaledMatMul(dS, k, scale);
      const dk = scaledMatMul(dS, q, scale, true, false);
      const dv = tf.matMul(p, dO, true, false);
      const packed = tf.reshape(tf.concat([dq, dk, dv], 0), [3, rows, heads, length, head]);
      return [tf.reshape(tf.transpose(packed, [1, 3, 0, 2, 4]), [rows * length, 3 * width])];
    },
  );
}

/** [length, length]: 0 where a query may look, very negative where it may not. */
function causalMask(length: number): Tensor {
  const mask = new Float32Array(length * length);
  for (let i = 0; i < length; i++) mask.fill(-1e9, i * length + i + 1, (i + 1) * length);
  return tf.tensor(mask, [length, length]);
}

/**
 * Cross entropy in nats [tokens] of predicting `targets` [tokens] (int32) from x [tokens, width] through the output
 * embedding `head` [vocab, width]. Logits and loss are one operation because their gradients are cheap together: with
 * p = softmax(x head') and w = dy, dx = w (p head - head[targets]) and dhead = p' (w x) - scatter(targets, w x), so
 * nothing but the softmax ever passes over [tokens, vocab].
 */
export function crossEntropy(x: Tensor, head: Tensor, targets: Tensor): Tensor {
  const [tokens] = x.shape as [number, number];
  const [vocab, width] = head.shape as [number, number];
  return differentiable(
    [x, head],
    (save) => {
      const logits = tf.matMul(x, head, false, true);
      const starts = tf.tensor(
        Int32Array.from({ length: tokens }, (_, i) => i * vocab),
        [tokens],
        "int32",
      );
      const chosen = tf.gather(tf.reshape(logits, [tokens * vocab]), tf.add(targets, starts));
      const largest = tf.max(logits, 1);
      const p = tf.softmax(logits);
      save([x, head, p]);
      // log(sum(exp(logits))) from the largest probability, which cannot underflow.
      return tf.sub(tf.sub(largest, tf.log(tf.max(p, 1))), chosen);
    },
    (dy, saved) => {
      const [x, head, p] = saved as [Tensor, Tensor, Tensor];
      const w = tf.expandDims(dy, 1);
      const weighted = tf.mul(x, w);
      const dx = tf.mul(tf.sub(tf.matMul(p, head), tf.gather(head, targets as tf.Tensor1D)), w);
      const scattered = tf.scatterND(tf.expandDims(targets, 1), tf.neg(weighted), [vocab, width]);
      return [dx, tf.add(tf.matMul(p, weighted, true, false), scattered)];
    },
  );
}
