// Kernels that ONNX Runtime has as one operator each: softmax, layer normalisation, GELU.

import { geluErfKernel, geluTanhKernel, layerNormKernel } from "../../../model/kernels.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { axesOf, input } from "./inputs.ts";

export const layerKernels: Record<string, KernelRecorder> = {
  Softmax: softmax("Softmax", "dim"),
  LogSoftmax: softmax("LogSoftmax", "axis"),
  [layerNormKernel]: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const statistics = { shape: x.shape.with(-1, 1), dtype: x.dtype };
    return graph.nodes(
      "LayerNormalization",
      [x, input(inputs, "weight"), input(inputs, "bias")],
      [{ shape: x.shape, dtype: x.dtype }, statistics, statistics],
      { attributes: { axis: { integer: -1 }, epsilon: { float: attrs.epsilon as number } } },
    );
  },
  [geluTanhKernel]: gelu("FastGelu"),
  [geluErfKernel]: gelu("Gelu"),
};

function softmax(operator: string, attribute: "dim" | "axis"): KernelRecorder {
  return (graph, inputs, attrs) => {
    const x = input(inputs, "logits");
    const [axis] = axesOf((attrs[attribute] as number | undefined) ?? -1, x.shape.length);
    return graph.node(operator, [x], x.shape, x.dtype, { attributes: { axis: { integer: axis! } } });
  };
}

function gelu(operator: "FastGelu" | "Gelu"): KernelRecorder {
  return (graph, inputs) => {
    const x = input(inputs, "x");
    return graph.node(operator, [x], x.shape, x.dtype, { domain: "com.microsoft" });
  };
}
