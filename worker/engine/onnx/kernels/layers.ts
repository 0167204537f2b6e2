// Kernels that ONNX Runtime has as one operator each: softmax, normalisations, rotary embedding, GELU.

import { geluErfKernel, geluTanhKernel, layerNormKernel, rmsNormKernel, rotaryKernel } from "../../../model/kernels.ts";
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
  [rmsNormKernel]: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    return graph.nodes(
      "SimplifiedLayerNormalization",
      [x, input(inputs, "weight")],
      [
        { shape: x.shape, dtype: x.dtype },
        { shape: x.shape.with(-1, 1), dtype: x.dtype },
      ],
      { attributes: { axis: { integer: -1 }, epsilon: { float: attrs.epsilon as number } } },
    );
  },
  [rotaryKernel]: (graph, inputs) => {
    const [x, cos, sin] = [input(inputs, "x"), input(inputs, "cos"), input(inputs, "sin")];
    const heads = x.shape.at(-1)! / (2 * cos.shape[1]!);
    // One position for all rows is where they begin.
    return graph.node("RotaryEmbedding", [x, graph.integers([0]), cos, sin], x.shape, x.dtype, {
      domain: "com.microsoft",
      attributes: { interleaved: { integer: 0 }, num_heads: { integer: heads } },
    });
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
