// Layers against their definitions in double precision, gradients by central differences of those.

import { beforeAll, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { selectTfjsBackend } from "../../../worker/engine/tfjs/backends.ts";
import { withBackend } from "../../../worker/engine/with-backend.ts";
import { registerGradients } from "../../../worker/model/gradients.ts";
import { attention, packedCausalAttention, paddingBias } from "../../../worker/model/attention.ts";
import { binaryCrossEntropy, crossEntropy } from "../../../worker/model/losses.ts";
import {
  addPositions,
  conv1d,
  embedding,
  firstTokens,
  gatedSilu,
  gelu,
  layerNorm,
  linear,
  relu,
  rmsNorm,
  rotary,
  tanh,
} from "../../../worker/model/nn.ts";
import { tf } from "../../../worker/model/tf.ts";

const random = createRandom(5, "layers");
const variates = (size: number): Float64Array =>
  Float64Array.from({ length: size }, () => Math.fround(random.normal()));
function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

beforeAll(async () => {
  registerGradients();
  await selectTfjsBackend("cpu");
});

interface Layer {
  readonly shapes: readonly number[][];
  readonly layer: (...inputs: tf.Tensor[]) => tf.Tensor;
  /** The same in double precision, flat. */
  readonly definition: (...inputs: Float64Array[]) => Float64Array;
}

/** Compares values, and slopes along a random direction of each input, of sum(c * layer(inputs)) with random c. */
function check({ shapes, layer, definition }: Layer): void {
  const inputs = shapes.map((shape) => variates(shape.reduce((size, length) => size * length, 1)));
  const want = definition(...inputs);
  const c = variates(want.length);
  const { have, slopes } = withBackend("cpu", () =>
    tf.tidy(() => {
      const tensors = shapes.map((shape, i) => tf.tensor(Float32Array.from(inputs[i]!), shape));
      const outputShape = layer(...tensors).shape;
      const { value, grads } = tf
        .engine()
        .gradients(() => layer(...tensors), tensors, tf.tensor(Float32Array.from(c), outputShape));
      return { have: value.dataSync().slice(), slopes: grads.map((grad) => grad.dataSync().slice()) };
    }),
  );
  expect(have.length).toBe(want.length);
  for (const [i, value] of want.entries()) expect(have[i]).toBeCloseTo(value, 4);
  for (const [i, input] of inputs.entries()) {
    const direction = variates(input.length);
    const h = 1e-5;
    const moved = (sign: number): Float64Array[] =>
      inputs.with(
        i,
        input.map((value, j) => value + sign * h * direction[j]!),
      );
    const difference = (dot(definition(...moved(1)), c) - dot(definition(...moved(-1)), c)) / (2 * h);
    expect(Math.abs(dot(slopes[i]!, direction) - difference), `slope of input ${i}`).toBeLessThan(
      1e-4 * Math.sqrt(dot(slopes[i]!, slopes[i]!) * dot(direction, direction)),
    );
  }
}

test.each([{ length: 5 }, { length: 64 }, { length: 150 }, { length: 300 }])(
  "attends causally over $length tokens, in blocks or not",
  ({ length }) => {
    const [rows, heads, head, scale] = [2, 2, 3, 0.7];
    const width = heads * head;
    const at = (qkv: Float64Array, part: number, row: number, t: number, h: number): Float64Array => {
      const start = (row * length + t) * 3 * width + part * width + h * head;
      return qkv.subarray(start, start + head);
    };
    check({
      shapes: [[rows * length, 3 * width]],
      layer: (qkv) => packedCausalAttention(qkv, { rows, length, heads, scale }),
      definition: (qkv) => {
        const result = new Float64Array(rows * length * width);
        for (let row = 0; row < rows; row++)
          for (let h = 0; h < heads; h++)
            for (let t = 0; t < length; t++) {
              const weights = Array.from({ length: t + 1 }, (_, s) =>
                Math.exp(scale * dot(at(qkv, 0, row, t, h), at(qkv, 1, row, s, h))),
              );
              const sum = weights.reduce((total, weight) => total + weight, 0);
              for (const [s, weight] of weights.entries())
                for (const [i, value] of at(qkv, 2, row, s, h).entries())
                  result[(row * length + t) * width + h * head + i]! += (weight / sum) * value;
            }
        return result;
      },
    });
  },
);

test("normalises rows", () => {
  check({
    shapes: [[4, 6], [6], [6]],
    layer: (x, weight, bias) => layerNorm(x, weight, bias, 0.1),
    definition: (x, weight, bias) =>
      x.map((value, i) => {
        const row = x.subarray(i - (i % 6), i - (i % 6) + 6);
        const mean = dot(row, Array(6).fill(1 / 6));
        const variance = row.reduce((sum, other) => sum + (other - mean) ** 2 / 6, 0);
        return ((value - mean) / Math.sqrt(variance + 0.1)) * weight[i % 6]! + bias[i % 6]!;
      }),
  });
});

test("multiplies by a weight and adds a bias", () => {
  check({
    shapes: [[3, 4], [4, 5], [5]],
    layer: (x, weight, bias) => conv1d(x, weight, bias),
    definition: (x, weight, bias) =>
      Float64Array.from({ length: 15 }, (_, i) => {
        const column = Array.from({ length: 4 }, (_, k) => weight[5 * k + (i % 5)]!);
        return dot(x.subarray(4 * Math.floor(i / 5), 4 * Math.floor(i / 5) + 4), column) + bias[i % 5]!;
      }),
  });
});

test("applies the tanh form of GELU, far from zero too", () => {
  check({
    shapes: [[40]],
    layer: (x) => gelu(tf.mul(x, 4), "gelu_new"),
    definition: (x) =>
      x.map((value) => {
        const u = 4 * value;
        return 0.5 * u * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (u + 0.044715 * u ** 3)));
      }),
  });
});

test("looks up rows and positions, and adds up what they get back", () => {
  check({
    shapes: [
      [5, 3],
      [4, 3],
    ],
    layer: (table, positions) => addPositions(embedding(table, tf.tensor1d([1, 4, 1, 1], "int32")), positions, 2, 2),
    definition: (table, positions) =>
      Float64Array.from(
        [1, 4, 1, 1].flatMap((id, i) => [0, 1, 2].map((j) => table[3 * id + j]! + positions[3 * (i % 2) + j]!)),
      ),
  });
});

test("measures cross entropy through the head", () => {
  const targets = [2, 0, 2, 4];
  check({
    shapes: [
      [4, 3],
      [5, 3],
    ],
    layer: (x, head) => crossEntropy(x, head, tf.tensor1d(targets, "int32")),
    definition: (x, head) =>
      Float64Array.from(targets, (target, i) => {
        const logits = Array.from({ length: 5 }, (_, v) =>
          dot(x.subarray(3 * i, 3 * i + 3), head.subarray(3 * v, 3 * v + 3)),
        );
        return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)) - logits[target]!;
      }),
  });
});

test.each([{ bias: true }, { bias: false }])("smooths the labels of cross entropy, with a bias: $bias", ({ bias }) => {
  const [targets, e] = [[2, 0, 2, 4], 0.3];
  check({
    shapes: [[4, 3], [5, 3], ...(bias ? [[5]] : [])],
    layer: (x, head, bias) => crossEntropy(x, head, tf.tensor1d(targets, "int32"), bias, e),
    definition: (x, head, bias) =>
      Float64Array.from(targets, (target, i) => {
        const logits = Array.from(
          { length: 5 },
          (_, v) => dot(x.subarray(3 * i, 3 * i + 3), head.subarray(3 * v, 3 * v + 3)) + (bias?.[v] ?? 0),
        );
        const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
        return logits.reduce((sum, z, v) => sum + ((v === target ? 1 - e : 0) + e / 5) * (total - z), 0);
      }),
  });
});

test.each([
  { name: "causally, four heads on two of keys and values", length: 130, keyHeads: 2, padded: [0, 0] },
  { name: "to all tokens but padding", length: 7, keyHeads: 4, padded: [0, 3] },
  { name: "to all tokens but padding, four heads on one", length: 5, keyHeads: 1, padded: [2, 0] },
])("attends $name", ({ length, keyHeads, padded }) => {
  const [rows, heads, head, scale] = [2, 4, 3, 0.6];
  const causal = padded.every((count) => count === 0);
  const at = (x: Float64Array, count: number, row: number, t: number, h: number): Float64Array => {
    const start = ((row * length + t) * count + h) * head;
    return x.subarray(start, start + head);
  };
  const mask = Float32Array.from({ length: rows * length }, (_, i) =>
    i % length < length - padded[Math.floor(i / length)]! ? 1 : 0,
  );
  check({
    shapes: [heads, keyHeads, keyHeads].map((count) => [rows * length, count * head]),
    layer: (q, k, v) =>
      attention(
        q,
        k,
        v,
        { rows, length, heads, keyHeads, scale },
        causal ? undefined : paddingBias(tf.tensor(mask), rows, length),
      ),
    definition: (q, k, v) => {
      const result = new Float64Array(rows * length * heads * head);
      for (let row = 0; row < rows; row++)
        for (let h = 0; h < heads; h++)
          for (let t = 0; t < length; t++) {
            const key = Math.floor((h * keyHeads) / heads);
            const weights = Array.from({ length: causal ? t + 1 : length - padded[row]! }, (_, s) =>
              Math.exp(scale * dot(at(q, heads, row, t, h), at(k, keyHeads, row, s, key))),
            );
            const sum = weights.reduce((total, weight) => total + weight, 0);
            for (const [s, weight] of weights.entries())
              for (const [i, value] of at(v, keyHeads, row, s, key).entries())
                result[((row * length + t) * heads + h) * head + i]! += (weight / sum) * value;
          }
      return result;
    },
  });
});

test("multiplies by a transposed weight, with a bias and without", () => {
  const definition = (x: Float64Array, weight: Float64Array, bias?: Float64Array): Float64Array =>
    Float64Array.from({ length: 15 }, (_, i) => {
      const [row, column] = [Math.floor(i / 5), i % 5];
      return dot(x.subarray(4 * row, 4 * row + 4), weight.subarray(4 * column, 4 * column + 4)) + (bias?.[column] ?? 0);
    });
  const shapes = [[3, 4], [5, 4], [5]];
  check({ shapes, layer: (x, weight, bias) => linear(x, weight, bias), definition });
  check({ shapes: shapes.slice(0, 2), layer: (x, weight) => linear(x, weight), definition });
});

test("normalises by the root mean square", () => {
  check({
    shapes: [[4, 6], [6]],
    layer: (x, weight) => rmsNorm(x, weight, 0.1),
    definition: (x, weight) =>
      x.map((value, i) => {
        const row = x.subarray(i - (i % 6), i - (i % 6) + 6);
        return (value / Math.sqrt(dot(row, row) / 6 + 0.1)) * weight[i % 6]!;
      }),
  });
});

test("turns the halves of every head by the angle of the position", () => {
  const [rows, length, heads, half] = [2, 3, 2, 2];
  const angle = (t: number, i: number): number => t * (i === 0 ? 1 : 0.01);
  const angles = (f: (x: number) => number): tf.Tensor =>
    tf.tensor(
      Array.from({ length: length * half }, (_, i) => f(angle(Math.floor(i / half), i % half))),
      [length, half],
    );
  check({
    shapes: [[rows * length, heads * 2 * half]],
    layer: (x) => rotary(x, angles(Math.cos), angles(Math.sin), rows),
    definition: (x) =>
      x.map((value, index) => {
        const [i, second] = [index % half, Math.floor(index / half) % 2 === 1];
        const a = angle(Math.floor(index / (heads * 2 * half)) % length, i);
        return second
          ? value * Math.cos(a) + x[index - half]! * Math.sin(a)
          : value * Math.cos(a) - x[index + half]! * Math.sin(a);
      }),
  });
});

test("gates with SiLU, far from zero too", () => {
  check({
    shapes: [[30], [30]],
    layer: (gate, up) => gatedSilu(tf.mul(gate, 4), up),
    definition: (gate, up) => gate.map((value, i) => ((4 * value) / (1 + Math.exp(-4 * value))) * up[i]!),
  });
});

test("applies tanh and ReLU, and takes the first tokens", () => {
  check({ shapes: [[20]], layer: tanh, definition: (x) => x.map(Math.tanh) });
  check({ shapes: [[20]], layer: relu, definition: (x) => x.map((value) => Math.max(value, 0)) });
  check({
    shapes: [[6, 2]],
    layer: (x) => firstTokens(x, 2),
    definition: (x) => Float64Array.of(x[0]!, x[1]!, x[6]!, x[7]!),
  });
});

test("measures cross entropy with a bias, and binary cross entropy", () => {
  const targets = [2, 0, 2, 4];
  check({
    shapes: [[4, 3], [5, 3], [5]],
    layer: (x, head, bias) => crossEntropy(x, head, tf.tensor1d(targets, "int32"), bias),
    definition: (x, head, bias) =>
      Float64Array.from(targets, (target, i) => {
        const logits = Array.from(
          { length: 5 },
          (_, v) => dot(x.subarray(3 * i, 3 * i + 3), head.subarray(3 * v, 3 * v + 3)) + bias[v]!,
        );
        return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)) - logits[target]!;
      }),
  });
  const answers = [1, 0, 0, 1, 1, 0];
  check({
    shapes: [[2, 3]],
    layer: (x) => binaryCrossEntropy(tf.mul(x, 5), tf.tensor1d(answers, "int32")),
    definition: (x) => x.map((z, i) => Math.log(1 + Math.exp((answers[i] === 1 ? -5 : 5) * z))),
  });
});
