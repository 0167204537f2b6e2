// Every kernel that the onnx backend records, run by ONNX Runtime, against TensorFlow.js's own cpu backend. A kernel in
// the table without a case here fails the last test.

import { beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { kernels } from "../../../worker/engine/onnx/kernels/table.ts";
import { loadRuntime, type Runtime } from "../../../worker/engine/onnx/runtime.ts";
import type { Target } from "../../../worker/engine/onnx/graph.ts";
import { traceModel } from "../../../worker/engine/onnx/tracing-backend.ts";
import { selectTfjsBackend } from "../../../worker/engine/tfjs/backends.ts";
import { withBackend } from "../../../worker/engine/with-backend.ts";
import {
  blockwise,
  after,
  geluErfForward,
  geluTanhForward,
  keepWhere,
  layerNormWithStatistics,
  rmsNormWithStatistics,
  rotateHalf,
  scaledMatMul,
} from "../../../worker/model/kernels.ts";
import { tf } from "../../../worker/model/tf.ts";
import { hasWebgpu, withoutWebgpu } from "../../support/engines.ts";

type Body = (...inputs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];

interface Case {
  readonly kernel: string;
  readonly shapes: readonly number[][];
  readonly body: Body;
  /** Inputs are normal variates unless they must be positive. */
  readonly positive?: boolean;
}

const run = (kernelName: string, inputs: Record<string, tf.Tensor>, attrs: object = {}): tf.Tensor =>
  tf.engine().runKernel<tf.Tensor>(kernelName, inputs, attrs as tf.NamedAttrMap);
const isPositive = (x: tf.Tensor): tf.Tensor => tf.greater(x, tf.scalar(0));
const number = (x: tf.Tensor): tf.Tensor => tf.cast(x, "float32");
const ids = (values: number[]): tf.Tensor1D => tf.tensor1d(values, "int32");

const elementwise = ["Add", "Sub", "Multiply", "RealDiv", "Maximum", "Minimum", "SquaredDifference"];
const comparisons = ["Equal", "Greater", "GreaterEqual", "Less", "LessEqual"];
const unary = ["Abs", "Cos", "Erf", "Exp", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin", "Square", "Tanh"];

const cases: Case[] = [
  {
    kernel: "RingtuneAfter",
    shapes: [[3, 4], [2], [5, 1]],
    body: (x, a, b) => after(x, [a, b]),
  },
  {
    kernel: "RingtuneKeep",
    shapes: [
      [3, 4],
      [3, 4],
    ],
    body: (x, y) => keepWhere(x, isPositive(y), 2),
  },
  ...elementwise.map((kernel) => ({
    kernel,
    shapes: [
      [2, 3, 4],
      [3, 1],
    ],
    body: (a: tf.Tensor, b: tf.Tensor) => run(kernel, { a, b }),
  })),
  ...comparisons.map((kernel) => ({
    kernel,
    shapes: [[8], [8]],
    body: (a: tf.Tensor, b: tf.Tensor) => number(run(kernel, { a: tf.sign(a), b: tf.sign(b) })),
  })),
  ...unary.map((kernel) => ({ kernel, shapes: [[3, 5]], body: (x: tf.Tensor) => run(kernel, { x }) })),
  ...["Log", "Sqrt", "Rsqrt"].map((kernel) => ({
    kernel,
    shapes: [[7]],
    positive: true,
    body: (x: tf.Tensor) => run(kernel, { x }),
  })),
  { kernel: "Pow", shapes: [[4], [4]], positive: true, body: (a, b) => tf.pow(a, b) },
  { kernel: "AddN", shapes: [[4], [4], [4]], body: (...all) => tf.addN(all) },
  { kernel: "LogicalAnd", shapes: [[9], [9]], body: (a, b) => number(tf.logicalAnd(isPositive(a), isPositive(b))) },
  { kernel: "LogicalOr", shapes: [[9], [9]], body: (a, b) => number(tf.logicalOr(isPositive(a), isPositive(b))) },
  { kernel: "LogicalNot", shapes: [[9]], body: (a) => number(tf.logicalNot(isPositive(a))) },
  { kernel: "Select", shapes: [[9], [9]], body: (a, b) => tf.where(isPositive(a), a, b) },
  { kernel: "Cast", shapes: [[9]], body: (a) => number(tf.cast(tf.mul(a, 10), "int32")) },
  { kernel: "Identity", shapes: [[9]], body: (a) => tf.clone(a) },

  { kernel: "Reshape", shapes: [[2, 6]], body: (x) => tf.reshape(tf.reshape(x, [3, -1]), [2, 2, 3]) },
  { kernel: "ExpandDims", shapes: [[2, 3]], body: (x) => tf.expandDims(x, -1) },
  { kernel: "Transpose", shapes: [[2, 3, 4]], body: (x) => tf.transpose(x, [2, 0, 1]) },
  { kernel: "Slice", shapes: [[4, 5]], body: (x) => tf.slice(x, [1, 2], [2, -1]) },
  { kernel: "SplitV", shapes: [[4, 6]], body: (x) => [...tf.split(x, 3, 1), ...tf.split(x, [1, 3], 0)] },
  { kernel: "Unpack", shapes: [[2, 3]], body: (x) => tf.unstack(x, 1) },
  {
    kernel: "Concat",
    shapes: [
      [2, 3],
      [2, 2],
    ],
    body: (a, b) => tf.concat([a, b], 1),
  },
  {
    kernel: "Pack",
    shapes: [
      [2, 3],
      [2, 3],
    ],
    body: (a, b) => tf.stack([a, b], 1),
  },
  {
    kernel: "PadV2",
    shapes: [[2, 3]],
    body: (x) =>
      tf.pad(
        x,
        [
          [1, 0],
          [0, 2],
        ],
        7,
      ),
  },
  { kernel: "Tile", shapes: [[2, 3]], body: (x) => tf.tile(x, [2, 1]) },
  { kernel: "Fill", shapes: [[2]], body: (x) => tf.add(tf.fill([3, 2], 5), x) },
  { kernel: "ZerosLike", shapes: [[2]], body: (x) => tf.zerosLike(x) },
  { kernel: "OnesLike", shapes: [[2]], body: (x) => tf.onesLike(x) },

  { kernel: "GatherV2", shapes: [[4, 3]], body: (x) => [tf.gather(x, ids([3, 0, 3])), tf.gather(x, ids([2, 1]), 1)] },
  { kernel: "ScatterNd", shapes: [[3, 2]], body: (x) => tf.scatterND(tf.expandDims(ids([1, 3, 1]), 1), x, [5, 2]) },
  {
    kernel: "ScatterNd",
    shapes: [
      [3, 2],
      [5, 2],
    ],
    body: (x, y) => tf.add(tf.scatterND(tf.expandDims(ids([1, 3, 1]), 1), x, [5, 2]), y),
  },
  { kernel: "UnsortedSegmentSum", shapes: [[3, 2]], body: (x) => tf.unsortedSegmentSum(x, ids([1, 3, 1]), 5) },

  { kernel: "Sum", shapes: [[2, 3, 4]], body: (x) => [tf.sum(x, 1), tf.sum(x, [0, 2], true), tf.sum(x)] },
  { kernel: "Mean", shapes: [[2, 3, 4]], body: (x) => [tf.mean(x, -1), tf.mean(x, [0, 1], true)] },
  { kernel: "Max", shapes: [[2, 3, 4]], body: (x) => [tf.max(x, 1), tf.max(x, -1, true)] },
  { kernel: "Min", shapes: [[2, 3, 4]], body: (x) => tf.min(x, 1) },

  ...[false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({
      kernel: "BatchMatMul",
      shapes: [transposeA ? [2, 4, 3] : [2, 3, 4], transposeB ? [2, 5, 4] : [2, 4, 5]],
      body: (a: tf.Tensor, b: tf.Tensor) => [
        tf.matMul(a, b, transposeA, transposeB),
        scaledMatMul(a, b, 0.3, transposeA, transposeB),
      ],
    })),
  ),
  {
    kernel: "RingtuneScaledMatMul",
    shapes: [
      [3, 4],
      [4, 5],
    ],
    body: (a, b) => scaledMatMul(a, b, -2),
  },
  {
    kernel: "_FusedMatMul",
    shapes: [[3, 4], [4, 5], [5]],
    body: (a, b, bias) => tf.fused.matMul({ a: a, b: b, bias: bias }),
  },
  {
    kernel: "_FusedMatMul",
    shapes: [
      [3, 4],
      [5, 4],
    ],
    body: (a, b) => tf.fused.matMul({ a, b, transposeB: true }),
  },

  { kernel: "Softmax", shapes: [[3, 7]], body: (x) => tf.softmax(x) },
  { kernel: "LogSoftmax", shapes: [[3, 7]], body: (x) => tf.logSoftmax(x) },
  {
    kernel: "RingtuneLayerNorm",
    shapes: [[3, 8], [8], [8]],
    body: (x, weight, bias) => layerNormWithStatistics(x, weight, bias, 1e-5),
  },
  {
    kernel: "RingtuneRmsNorm",
    shapes: [[3, 8], [8]],
    body: (x, weight) => rmsNormWithStatistics(x, weight, 1e-5),
  },
  {
    kernel: "RingtuneRotary",
    shapes: [
      [2, 5, 12],
      [5, 2],
      [5, 2],
    ],
    body: (x, cos, sin) => rotateHalf(x, cos, sin),
  },
  { kernel: "RingtuneGeluTanh", shapes: [[30]], body: (x) => geluTanhForward(tf.mul(x, 3)) },
  { kernel: "RingtuneGeluErf", shapes: [[30]], body: (x) => geluErfForward(tf.mul(x, 3)) },
];

const targets: Target[] = [
  { provider: "cpu", threads: 1 },
  ...(hasWebgpu ? [{ provider: "webgpu", threads: 1 } as const] : []),
];
const onCpu: Target = { provider: "cpu", threads: 1 };

let runtime: Runtime;
beforeAll(async () => {
  runtime = await loadRuntime();
  await selectTfjsBackend("cpu");
});

async function runTraced(
  body: Body,
  inputs: tf.TensorLike[],
  shapes: readonly number[][],
  target = onCpu,
): Promise<Float32Array[]> {
  const outputShapes: number[][] = [];
  const model = traceModel(target, (trace) => {
    const tensors = shapes.map((shape, i) => trace.input(`x${i}`, shape, "float32"));
    for (const [i, output] of [body(...tensors)].flat().entries()) {
      outputShapes.push(output.shape);
      trace.output(`y${i}`, output);
    }
  });
  const program = await runtime.load(model, { provider: { name: target.provider, index: 0 }, threads: target.threads });
  const results = outputShapes.map((shape) => new Float32Array(shape.reduce((size, length) => size * length, 1)));
  await program.run(
    Object.fromEntries(shapes.map((shape, i) => [`x${i}`, runtime.slot(inputs[i] as Float32Array, shape, "float32")])),
    Object.fromEntries(results.map((data, i) => [`y${i}`, runtime.slot(data, outputShapes[i]!, "float32")])),
  );
  await program.close();
  return results;
}

const runEager = (body: Body, inputs: Float32Array[], shapes: readonly number[][]): Float32Array[] =>
  withBackend("cpu", () =>
    tf.tidy(() => {
      const outputs = [body(...shapes.map((shape, i) => tf.tensor(inputs[i]!.slice(), shape)))].flat();
      return outputs.map((output) => output.dataSync<"float32">().slice());
    }),
  );

const random = createRandom(7, "kernels");
const variates = (shape: readonly number[]): Float32Array =>
  Float32Array.from({ length: shape.reduce((size, length) => size * length, 1) }, () => random.normal());

// WGSL asks no more of its sine and cosine than this error, between -pi and pi: models must not compute angles on a GPU.
const trigonometricError = 2 ** -11;

describe.each(targets)("the onnx backend on $provider", (target) => {
  test.each(cases)("computes $kernel of $shapes as TensorFlow.js does", async ({ kernel, shapes, body, positive }) => {
    const inputs = shapes.map((shape) => (positive ? variates(shape).map((x) => Math.abs(x) + 0.1) : variates(shape)));
    const [traced, eager] = [await runTraced(body, inputs, shapes, target), runEager(body, inputs, shapes)];
    expect(traced.length).toBe(eager.length);
    const limit = target.provider === "webgpu" && ["Sin", "Cos"].includes(kernel) ? trigonometricError : 5e-5;
    for (const [i, want] of eager.entries()) {
      expect(traced[i]!.length).toBe(want.length);
      for (const [j, value] of want.entries()) expect(Math.abs(traced[i]![j]! - value)).toBeLessThan(limit);
    }
  });

  test("adds thousands of rows to the same place exactly", async () => {
    const shape = [4096, 16];
    const body: Body = (x) => tf.add(tf.scatterND(tf.fill([4096, 1], 3, "int32"), x, [8, 16]), tf.ones([8, 16]));
    const [sums] = await runTraced(body, [new Float32Array(4096 * 16).fill(1)], [shape], target);
    expect(sums!.slice(3 * 16, 4 * 16).every((sum) => sum === 4097)).toBe(true);
  });
});

describe("the onnx backend", () => {
  test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

  test("adds thousands of rows to the same place exactly with several threads", async () => {
    const shape = [16384, 64];
    const body: Body = (x) => tf.add(tf.scatterND(tf.fill([16384, 1], 3, "int32"), x, [8, 64]), tf.ones([8, 64]));
    const [sums] = await runTraced(body, [new Float32Array(16384 * 64).fill(1)], [shape], {
      provider: "cpu",
      threads: 4,
    });
    expect(sums!.slice(3 * 64, 4 * 64).every((sum) => sum === 16385)).toBe(true);
    // The operator that races loses sums in one run of thirty only, so its absence is what shows.
    const model = traceModel({ provider: "cpu", threads: 4 }, (trace) =>
      trace.output("y", [body(trace.input("x", shape, "float32"))].flat()[0]!),
    );
    expect(Buffer.from(model).includes("ScatterND")).toBe(false);
  });

  test.each([
    { rows: 600, divides: true },
    { rows: 601, divides: false },
  ])("computes $rows rows in blocks of equal length, if there are any", async ({ rows, divides }) => {
    const shapes = [[rows, 300], [rows, 1], [300]];
    const body: Body = (x, y, weight) =>
      blockwise([x, y], (x, y) => {
        const scaled = tf.mul(tf.sub(x, y), tf.mul(weight, 0.5));
        return [scaled, y, tf.sum(scaled, 0, true)];
      }).map((result, i) => (i === 2 ? tf.sum(result, 0) : result));
    const inputs = shapes.map(variates);
    const [traced, eager] = [await runTraced(body, inputs, shapes, onCpu), runEager(body, inputs, shapes)];
    expect(traced.map(({ length }) => length)).toEqual([rows * 300, rows, 300]);
    for (const [i, want] of eager.entries()) {
      const errors = want.map((value, j) => Math.abs(traced[i]![j]! - value));
      // Float32 sums of 600 numbers in two orders, and single operations.
      expect(errors.reduce((a, b) => Math.max(a, b), 0)).toBeLessThan(i === 2 ? 1e-3 : 5e-5);
    }
    const model = traceModel(onCpu, (trace) => {
      const outputs = [body(...shapes.map((shape, i) => trace.input(`x${i}`, shape, "float32")))].flat();
      trace.output("y", outputs[0]!);
    });
    expect(Buffer.from(model).includes("Scan")).toBe(divides);
  });

  test("names a kernel that it does not have", () => {
    expect(() => traceModel(onCpu, (trace) => trace.output("y", tf.cumsum(trace.input("x", [3], "float32"))))).toThrow(
      "Cumsum",
    );
  });

  test("refuses to read a tensor while tracing", () => {
    expect(() => traceModel(onCpu, (trace) => trace.input("x", [3], "float32").dataSync())).toThrow(
      "cannot be read while tracing",
    );
  });

  test("has a test for every kernel", () => {
    expect(Object.keys(kernels).filter((name) => !cases.some(({ kernel }) => kernel === name))).toEqual([]);
  });
});
