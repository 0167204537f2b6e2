// Mixed precision while a graph is traced: which kernels compute in 16 bits and which in 32, as torch.amp's autocast has
// it. Weights, gradients and everything that the caller sees stay float32; TensorFlow.js never learns of half types.

import {
  geluErfKernel,
  layerNormKernel,
  rmsNormKernel,
  rotaryKernel,
  scaledMatMulKernel,
} from "../../model/kernels.ts";
import type { Dtype, GraphBuilder, Value } from "./graph.ts";

/** Where most of the time goes, and where sums are long enough for hardware to keep them in more bits. */
const inHalf: ReadonlySet<string> = new Set(["BatchMatMul", "_FusedMatMul", scaledMatMulKernel]);

/** Sums, and functions that leave the range or the digits of 16 bits. */
const inFull: ReadonlySet<string> = new Set([
  ...["Softmax", "LogSoftmax", layerNormKernel, rmsNormKernel, rotaryKernel, geluErfKernel],
  ...["Sum", "Mean", "Max", "Min", "Exp", "Log", "Pow", "Erf", "Sqrt", "Rsqrt", "Reciprocal", "RealDiv"],
  ...["Square", "SquaredDifference", "ScatterNd", "UnsortedSegmentSum", "AddN", "Concat", "Pack"],
]);

const isFloat = ({ dtype }: Value): boolean => dtype === "float32" || isHalf(dtype);

export function isHalf(dtype: Dtype): boolean {
  return dtype === "float16" || dtype === "bfloat16";
}

/** The inputs of a kernel in the type that it is to compute in; other kernels take the widest of their inputs' types. */
export function autocast(
  graph: GraphBuilder,
  kernelName: string,
  inputs: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value>> {
  const { half } = graph.target;
  if (half === undefined) return inputs;
  const floats = Object.values(inputs).filter(isFloat);
  // A number of the program has no type of its own.
  const typed = floats.filter((value) => !(graph.isConstant(value) && value.shape.length === 0));
  const isNarrow = typed.length > 0 && typed.every(({ dtype }) => isHalf(dtype));
  const dtype = inHalf.has(kernelName) || (isNarrow && !inFull.has(kernelName)) ? half : "float32";
  return Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [name, isFloat(value) ? graph.cast(value, dtype) : value]),
  );
}
