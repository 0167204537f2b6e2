// Kernels that ONNX Runtime has as one operator each: softmax, normalisations, rotary embedding, GELU.

import { geluErfKernel, geluTanhKernel, layerNormKernel, rmsNormKernel, rotaryKernel } from "../../../model/kernels.ts";
import type { Dtype, GraphBuilder, Shape, Value } from "../graph.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { axesOf, input } from "./inputs.ts";

export const layerKernels: Record<string, KernelRecorder> = {
  Softmax: softmax("Softmax", "dim"),
  LogSoftmax: softmax("LogSoftmax", "axis"),
  [layerNormKernel]: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const statistics = statisticsOf(x);
    return graph.nodes(
      "LayerNormalization",
      [x, input(inputs, "weight"), input(inputs, "bias")],
      [{ shape: x.shape, dtype: x.dtype }, statistics, statistics],
      { attributes: { axis: { integer: -1 }, epsilon: { float: attrs.epsilon as number } } },
    );
  },
  [rmsNormKernel]: (graph, inputs, attrs) => {
    const [x, weight, epsilon] = [input(inputs, "x"), input(inputs, "weight"), attrs.epsilon as number];
    const [y, inverse] = graph.nodes(
      "SimplifiedLayerNormalization",
      [x, weight],
      [{ shape: x.shape, dtype: x.dtype }, statisticsOf(x)],
      { attributes: { axis: { integer: -1 }, epsilon: { float: epsilon } } },
    );
    return [y!, writesInverse.has(graph.target.provider) ? inverse! : inverseRms(graph, x, epsilon)];
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

/** The providers that fill the second output of SimplifiedLayerNormalization; WebGPU's leaves it as it was. */
const writesInverse: ReadonlySet<string> = new Set(["cpu", "cuda"]);

/** 1 / sqrt(mean(x^2) + epsilon) over the last dimension. */
function inverseRms(graph: GraphBuilder, x: Value, epsilon: number): Value {
  const { shape, dtype } = statisticsOf(x);
  const sum = graph.node("ReduceSumSquare", [x, graph.integers([x.shape.length - 1])], shape, dtype);
  const mean = graph.node("Mul", [sum, graph.scalar(1 / x.shape.at(-1)!)], shape, dtype);
  const shifted = graph.node("Add", [mean, graph.scalar(epsilon)], shape, dtype);
  return graph.node("Reciprocal", [graph.node("Sqrt", [shifted], shape, dtype)], shape, dtype);
}

function statisticsOf(x: Value): { shape: Shape; dtype: Dtype } {
  return { shape: x.shape.with(-1, 1), dtype: x.dtype };
}

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
