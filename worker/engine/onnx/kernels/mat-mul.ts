// Matrix products. Transposes and a factor are part of the product (FusedMatMul), a bias is part of it in two
// dimensions (Gemm): neither costs a pass over the data. Providers without FusedMatMul would hand it to the CPU, with
// copies both ways; for them it is a Gemm in two dimensions, and else a product of what is transposed and scaled before.

import type { ProviderName } from "../../../../common/devices.ts";
import { assert } from "../../../../common/errors.ts";
import { scaledMatMulKernel, type ScaledMatMulAttrs } from "../../../model/kernels.ts";
import { tf } from "../../../model/tf.ts";
import type { GraphBuilder, Value } from "../graph.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { input } from "./inputs.ts";
import { reshape, sizeOf, transpose } from "./shapes.ts";

export const matMulKernels: Record<string, KernelRecorder> = {
  BatchMatMul: (graph, inputs, attrs) => {
    const { transposeA, transposeB } = attrs as { transposeA: boolean; transposeB: boolean };
    return matMul(graph, input(inputs, "a"), input(inputs, "b"), { transposeA, transposeB, scale: 1 });
  },
  [scaledMatMulKernel]: (graph, inputs, attrs) =>
    matMul(graph, input(inputs, "a"), input(inputs, "b"), attrs as unknown as ScaledMatMulAttrs),
  _FusedMatMul: (graph, inputs, attrs) => {
    const { transposeA, transposeB, activation } = attrs as Record<string, unknown>;
    assert(activation === "linear" || activation === undefined, "a fused activation is not recorded");
    const flags = { transposeA: transposeA === true, transposeB: transposeB === true, scale: 1 };
    const [a, b, bias] = [input(inputs, "a"), input(inputs, "b"), inputs.bias];
    if (bias === undefined) return matMul(graph, a, b, flags);
    const product = biased(graph, matrix(graph, a), matrix(graph, b), bias, flags);
    return reshape(graph, product, productShape(a, b, flags));
  },
};

/** TensorFlow.js hands over matrices as batches of one. */
function matrix(graph: GraphBuilder, x: Value): Value {
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  assert(
    x.shape.slice(0, -2).every((length) => length === 1),
    "a product with a bias must not be batched",
  );
  return reshape(graph, x, [rows, columns]);
}

function biased(graph: GraphBuilder, a: Value, b: Value, bias: Value, flags: ScaledMatMulAttrs): Value {
  return graph.node("Gemm", [a, b, bias], productShape(a, b, flags), a.dtype, {
    attributes: { transA: { integer: Number(flags.transposeA) }, transB: { integer: Number(flags.transposeB) } },
  });
}

function matMul(graph: GraphBuilder, a: Value, b: Value, flags: ScaledMatMulAttrs): Value {
  const shape = productShape(a, b, flags);
  if (!flags.transposeA && !flags.transposeB && flags.scale === 1) return graph.node("MatMul", [a, b], shape, a.dtype);
  if (withoutFusedMatMul.has(graph.target.provider)) return plainMatMul(graph, a, b, flags);
  return graph.node("FusedMatMul", [a, b], shape, a.dtype, {
    domain: "com.microsoft",
    attributes: {
      transA: { integer: Number(flags.transposeA) },
      transB: { integer: Number(flags.transposeB) },
      alpha: { float: flags.scale },
    },
  });
}

const withoutFusedMatMul: ReadonlySet<string> = new Set<ProviderName>(["webgpu", "coreml"]);

function plainMatMul(graph: GraphBuilder, a: Value, b: Value, flags: ScaledMatMulAttrs): Value {
  const { transposeA, transposeB, scale } = flags;
  const shape = productShape(a, b, flags);
  if (a.shape.length === 2 && b.shape.length === 2) {
    return graph.node("Gemm", [a, b], shape, a.dtype, {
      attributes: {
        transA: { integer: Number(transposeA) },
        transB: { integer: Number(transposeB) },
        alpha: { float: scale },
      },
    });
  }
  const scaled = (x: Value): Value =>
    scale === 1 ? x : graph.node("Mul", [x, graph.scalar(scale, x.dtype)], x.shape, x.dtype);
  const isASmaller = sizeOf(a.shape) <= sizeOf(b.shape);
  const left = transposeA ? transpose(graph, a, swapLast(a.shape.length)) : a;
  const right = transposeB ? transpose(graph, b, swapLast(b.shape.length)) : b;
  return graph.node("MatMul", isASmaller ? [scaled(left), right] : [left, scaled(right)], shape, a.dtype);
}

function swapLast(rank: number): number[] {
  return Array.from({ length: rank }, (_, axis) => (axis < rank - 2 ? axis : 2 * rank - 3 - axis));
}

function productShape(a: Value, b: Value, { transposeA, transposeB }: ScaledMatMulAttrs): number[] {
  const batch = tf.backend_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  return [...batch, a.shape.at(transposeA ? -1 : -2)!, b.shape.at(transposeB ? -2 : -1)!];
}
