// The losses of all heads, for every target one, each with a closed-form gradient. Masking and averaging are the engines'
// business: they weigh the losses.

import { transposedMatMulWithBias } from "./kernels.ts";
import { differentiable } from "./nn.ts";
import { tf } from "./tf.ts";

type Tensor = tf.Tensor;

/**
 * Cross entropy in nats [tokens] of predicting `targets` [tokens] (int32) from x [tokens, width] through the output
 * embedding (or classifier) `head` [vocab, width] and its `bias` [vocab], if there is one. Logits and loss are one operation because their gradients are cheap together: with
 * p = softmax(x head') and w = dy, dx = w (p head - head[targets]) and dhead = p' (w x) - scatter(targets, w x), so
 * nothing but the softmax ever passes over [tokens, vocab].
 */
export function crossEntropy(x: Tensor, head: Tensor, targets: Tensor, bias?: Tensor): Tensor {
  const [tokens] = x.shape as [number, number];
  const [vocab, width] = head.shape as [number, number];
  return differentiable(
    bias === undefined ? [x, head] : [x, head, bias],
    (save) => {
      const logits = bias ? transposedMatMulWithBias(x, head, bias) : tf.matMul(x, head, false, true);
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
      const dhead = tf.add(tf.matMul(p, weighted, true, false), scattered);
      if (bias === undefined) return [dx, dhead];
      const counted = tf.scatterND(tf.expandDims(targets, 1), tf.neg(w), [vocab, 1]);
      return [dx, dhead, tf.reshape(tf.add(tf.matMul(p, w, true, false), counted), [vocab])];
    },
  );
}

/**
 * Binary cross entropy in nats, of the shape of `logits`, of answering `targets` (int32, 0 or 1, of the same size) with
 * probability sigmoid(logit): max(z, 0) - z t + log(1 + exp(-|z|)).
 */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  return differentiable(
    [logits],
    (save) => {
      const t = tf.cast(tf.reshape(targets, logits.shape), "float32");
      save([logits, t]);
      const rest = tf.log(tf.add(tf.exp(tf.neg(tf.abs(logits))), 1));
      return tf.add(tf.sub(tf.relu(logits), tf.mul(logits, t)), rest);
    },
    (dy, [logits, t]) => [tf.mul(dy, tf.sub(tf.sigmoid(logits!), t!))],
  );
}
