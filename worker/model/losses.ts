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
export function crossEntropy(x: Tensor, head: Tensor, targets: Tensor, bias?: Tensor, smoothing = 0): Tensor {
  if (smoothing > 0) return smoothedCrossEntropy(x, head, targets, bias, smoothing);
  const [vocab, width] = head.shape as [number, number];
  return differentiable(
    bias === undefined ? [x, head] : [x, head, bias],
    (save) => {
      const logits = bias ? transposedMatMulWithBias(x, head, bias) : tf.matMul(x, head, false, true);
      const p = tf.softmax(logits);
      save([x, head, targets, p]);
      return tf.sub(logSumExp(logits, p), chosenLogits(logits, targets));
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
 * Cross entropy with label smoothing (Szegedy et al., 2016), as torch.nn.functional.cross_entropy has it: the share
 * `smoothing` = e of every target goes to all of the vocabulary alike. With z the logits and m their mean, which is x times
 * the mean row of head, so that no other pass over [tokens, vocab] is needed:
 *
 *     loss = logsumexp(z) - (1 - e) z[target] - e m          dz = w (p - (1 - e) onehot - e / vocab)
 */
function smoothedCrossEntropy(x: Tensor, head: Tensor, targets: Tensor, bias: Tensor | undefined, e: number): Tensor {
  const [vocab, width] = head.shape as [number, number];
  return differentiable(
    bias === undefined ? [x, head] : [x, head, bias],
    (save) => {
      const logits = bias ? transposedMatMulWithBias(x, head, bias) : tf.matMul(x, head, false, true);
      const p = tf.softmax(logits);
      const meanRow = tf.mean(head, 0, true); // [1, width]
      save([x, head, targets, p, meanRow]);
      const products = tf.reshape(tf.matMul(x, meanRow, false, true), targets.shape);
      const m = bias ? tf.add(products, tf.mean(bias)) : products;
      const wanted = tf.add(tf.mul(chosenLogits(logits, targets), 1 - e), tf.mul(m, e));
      return tf.sub(logSumExp(logits, p), wanted);
    },
    (dy, saved) => {
      const [x, head, targets, p, meanRow] = saved as [Tensor, Tensor, tf.Tensor1D, Tensor, Tensor];
      const w = tf.expandDims(dy, 1);
      const weighted = tf.mul(x, w);
      const wanted = tf.add(tf.mul(tf.gather(head, targets), 1 - e), tf.mul(meanRow, e));
      const dx = tf.mul(tf.sub(tf.matMul(p, head), wanted), w);
      const rows = tf.expandDims(targets, 1);
      const scattered = tf.scatterND(rows, tf.mul(weighted, e - 1), [vocab, width]);
      const even = tf.mul(tf.sum(weighted, 0, true), -e / vocab);
      const dhead = tf.add(tf.add(tf.matMul(p, weighted, true, false), scattered), even);
      if (bias === undefined) return [dx, dhead];
      const counted = tf.scatterND(rows, tf.mul(w, e - 1), [vocab, 1]);
      const dbias = tf.add(tf.add(tf.matMul(p, w, true, false), counted), tf.mul(tf.sum(w), -e / vocab));
      return [dx, dhead, tf.reshape(dbias, [vocab])];
    },
  );
}

/** [tokens]: the logit of each target. */
function chosenLogits(logits: Tensor, targets: Tensor): Tensor {
  const [tokens, vocab] = logits.shape as [number, number];
  const starts = Int32Array.from({ length: tokens }, (_, i) => i * vocab);
  return tf.gather(tf.reshape(logits, [tokens * vocab]), tf.add(targets, tf.tensor(starts, [tokens], "int32")));
}

/** log(sum(exp(logits))) [tokens] from the largest probability of p = softmax(logits), which cannot underflow. */
function logSumExp(logits: Tensor, p: Tensor): Tensor {
  return tf.sub(tf.max(logits, 1), tf.log(tf.max(p, 1)));
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
