// Kernels that reduce over axes.

import type { KernelRecorder } from "../tracing-backend.ts";
import { axesOf, input } from "./inputs.ts";

export const reductionKernels: Record<string, KernelRecorder> = {
  Sum: reduction("ReduceSum", "axis"),
  Mean: reduction("ReduceMean", "axis"),
  Max: reduction("ReduceMax", "reductionIndices"),
  Min: reduction("ReduceMin", "axis"),
};

/** `attribute` is the name that TensorFlow.js gives the axes of this kernel. */
function reduction(operator: string, attribute: "axis" | "reductionIndices"): KernelRecorder {
  return (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const axes = axesOf(attrs[attribute] as number | number[] | null, x.shape.length);
    const keep = attrs.keepDims === true;
    const shape = keep
      ? x.shape.map((length, i) => (axes.includes(i) ? 1 : length))
      : x.shape.filter((_, i) => !axes.includes(i));
    return graph.node(operator, [x, graph.integers(axes)], shape, x.dtype, {
      attributes: { keepdims: { integer: keep ? 1 : 0 } },
    });
  };
}
