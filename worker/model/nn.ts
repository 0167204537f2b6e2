// The layers that language models are made of, each with its own closed-form gradient, in plain TensorFlow.js.
// Tokens are rows: activations are [tokens, width] with tokens = rows * length. No parameters live here and no
// randomness: what is passed in decides what comes out.

import { geluA, geluC, geluErfForward, geluTanhForward, layerNormWithStatistics, scaledMatMul } from "./kernels.ts";
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

/** Queries are computed in blocks, each with the keys up to its end only: four blocks, or fewer if they get too small. */
const maximumBlocks = 4;
const minimumBlock = 64;

/**
 * Multi-head attention in which a token sees itself and what is before it (Vaswani et al., 2017).
 * `qkv` is [tokens, 3 * width] (queries, keys, values); the result is [tokens, width].
 *
 *     P = softmax(scale q k' + mask)    o = P v
 *     dv = P' do    dS = P * (do v' - rowsum(do * o))    dq = scale dS k    dk = scale dS' q
 *
 * What the mask hides is not computed either, up to the size of a block: 4 blocks do 10 of 16 parts of the work.
 *
 *     queries 0..127    ##              ## keys that the block computes
 *           128..255    ####
 *           256..383    ######
 *           384..511    ########
 */
export function causalAttention(qkv: Tensor, { rows, length, heads, scale }: AttentionShape): Tensor {
  const width = qkv.shape[1]! / 3;
  const head = width / heads;
  const groups = rows * heads;
  const size = Math.max(minimumBlock, Math.ceil(length / maximumBlocks));
  const starts = Array.from({ length: Math.ceil(length / size) }, (_, i) => i * size);
  const blocks = starts.map((start) => ({ start, end: Math.min(start + size, length) }));
  const between = (x: Tensor, start: number, end: number): Tensor =>
    start === 0 && end === length ? x : tf.slice(x, [0, start, 0], [groups, end - start, -1]);
  const joined = (parts: Tensor[]): Tensor => (parts.length === 1 ? parts[0]! : tf.concat(parts, 1));
  // Adds up parts that cover the first keys only.
  const total = (parts: Tensor[]): Tensor =>
    parts.length === 1
      ? parts[0]!
      : tf.addN(
          parts.map((part) =>
            tf.pad(part, [
              [0, 0],
              [0, length - part.shape[1]!],
              [0, 0],
            ]),
          ),
        );

  return differentiable(
    [qkv],
    (save) => {
      const packed = tf.transpose(tf.reshape(qkv, [rows, length, 3, heads, head]), [2, 0, 3, 1, 4]);
      const [q, k, v] = tf.split(packed, 3, 0).map((part) => tf.reshape(part, [groups, length, head]));
      const ps = blocks.map(({ start, end }) => {
        const scores = scaledMatMul(between(q!, start, end), between(k!, 0, end), scale, false, true);
        return tf.softmax(tf.add(scores, causalMask(start, end)));
      });
      const o = joined(blocks.map(({ end }, i) => tf.matMul(ps[i]!, between(v!, 0, end))));
      const merged = tf.transpose(tf.reshape(o, [rows, heads, length, head]), [0, 2, 1, 3]);
      const result = tf.reshape(merged, [rows * length, width]);
      save([q!, k!, v!, result, ...ps]);
      return result;
    },
    (dy, saved) => {
      const [q, k, v, o, ...ps] = saved as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
      const split = tf.reshape(dy, [rows, length, heads, head]);
      const dO = tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [groups, length, head]);
      const products = tf.reshape(tf.mul(dy, o), [rows, length, heads, head]);
      const rowSums = tf.reshape(tf.transpose(tf.sum(products, -1), [0, 2, 1]), [groups, length, 1]);
      const parts = blocks.map(({ start, end }, i) => {
        const [p, dOi, qi] = [ps[i]!, between(dO, start, end), between(q, start, end)];
        const dP = tf.matMul(dOi, between(v, 0, end), false, true);
        const dS = tf.mul(p, tf.sub(dP, between(rowSums, start, end)));
        return {
          dq: scaledMatMul(dS, between(k, 0, end), scale),
          dk: scaledMatMul(dS, qi, scale, true, false),
          dv: tf.matMul(p, dOi, true, false),
        };
      });
      const dq = joined(parts.map((part) => part.dq));
      const [dk, dv] = [total(parts.map((part) => part.dk)), total(parts.map((part) => part.dv))];
      const packed = tf.reshape(tf.concat([dq, dk, dv], 0), [3, rows, heads, length, head]);
      return [tf.reshape(tf.transpose(packed, [1, 3, 0, 2, 4]), [rows * length, 3 * width])];
    },
  );
}

/** [end - start, end]: 0 where a query of start..end-1 may look, very negative where it may not. */
function causalMask(start: number, end: number): Tensor {
  const mask = new Float32Array((end - start) * end);
  for (let query = start; query < end; query++)
    mask.fill(-1e9, (query - start) * end + query + 1, (query - start + 1) * end);
  return tf.tensor(mask, [end - start, end]);
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
      save([x, head, targets, p]);
      // log(sum(exp(logits))) from the largest probability, which cannot underflow.
      return tf.sub(tf.sub(largest, tf.log(tf.max(p, 1))), chosen);
    },
    (dy, saved) => {
      const [x, head, targets, p] = saved as [Tensor, Tensor, tf.Tensor1D, Tensor];
      const w = tf.expandDims(dy, 1);
      const weighted = tf.mul(x, w);
      const dx = tf.mul(tf.sub(tf.matMul(p, head), tf.gather(head, targets)), w);
      const scattered = tf.scatterND(tf.expandDims(targets, 1), tf.neg(weighted), [vocab, width]);
      return [dx, tf.add(tf.matMul(p, weighted, true, false), scattered)];
    },
  );
}
