// Gradients of the stock TensorFlow.js operations that models use between the layers of nn.ts. TensorFlow.js's own table
// of gradients is not part of what its core package offers to Node, and is larger than what is needed here.

import { tf } from "./tf.ts";

type Tensor = tf.Tensor;

let registered = false;

/** Idempotent; an engine calls it before it asks for gradients. */
export function registerGradients(): void {
  if (registered) return;
  registered = true;
  for (const gradient of gradients) tf.registerGradient(gradient);
}

const gradients: tf.GradConfig[] = [
  {
    kernelName: "Identity",
    gradFunc: (dy) => ({ x: () => one(dy) }),
  },
  {
    kernelName: "Add",
    inputsToSave: ["a", "b"],
    gradFunc: (dy, [a, b]) => ({ a: () => reduceTo(one(dy), a!.shape), b: () => reduceTo(one(dy), b!.shape) }),
  },
  {
    kernelName: "Sub",
    inputsToSave: ["a", "b"],
    gradFunc: (dy, [a, b]) => ({ a: () => reduceTo(one(dy), a!.shape), b: () => reduceTo(tf.neg(one(dy)), b!.shape) }),
  },
  {
    kernelName: "Multiply",
    inputsToSave: ["a", "b"],
    gradFunc: (dy, [a, b]) => ({
      a: () => reduceTo(tf.mul(one(dy), b!), a!.shape),
      b: () => reduceTo(tf.mul(one(dy), a!), b!.shape),
    }),
  },
  {
    kernelName: "Neg",
    gradFunc: (dy) => ({ x: () => tf.neg(one(dy)) }),
  },
  {
    kernelName: "Reshape",
    inputsToSave: ["x"],
    gradFunc: (dy, [x]) => ({ x: () => tf.reshape(one(dy), x!.shape) }),
  },
  {
    kernelName: "Transpose",
    gradFunc: (dy, _, attrs) => {
      const { perm } = attrs as unknown as { perm: number[] };
      return { x: () => tf.transpose(one(dy), tf.backend_util.getUndoAxesPermutation(perm)) };
    },
  },
  {
    kernelName: "Slice",
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => {
      const { begin } = attrs as unknown as { begin: number[] };
      const after = begin.map((start, i) => x!.shape[i]! - start - one(dy).shape[i]!);
      return {
        x: () =>
          tf.pad(
            one(dy),
            begin.map((start, i) => [start, after[i]!] as [number, number]),
          ),
      };
    },
  },
];

/** The gradient of an operation with one output. */
function one(dy: Tensor | Tensor[]): Tensor {
  return dy as Tensor;
}

/** Sums over the dimensions in which `shape` was broadcast. */
function reduceTo(dy: Tensor, shape: number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
  return tf.reshape(axes.length === 0 ? dy : tf.sum(dy, axes), shape);
}
