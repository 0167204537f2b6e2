// Kernels that read or add by index. Adding goes through ScatterND with reduction "add", which sums repeated indices.

import type { GraphBuilder, Value } from "../graph.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { cast } from "./elementwise.ts";
import { axesOf, input } from "./inputs.ts";
import { fill, reshape } from "./shapes.ts";

export const indexingKernels: Record<string, KernelRecorder> = {
  GatherV2: (graph, inputs, attrs) => {
    const [x, indices] = [input(inputs, "x"), input(inputs, "indices")];
    if (attrs.batchDims !== undefined && attrs.batchDims !== 0)
      throw new Error("gather with batchDims is not recorded");
    const [axis] = axesOf(attrs.axis as number, x.shape.length);
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis! + 1)];
    return graph.node("Gather", [x, indices], shape, x.dtype, { attributes: { axis: { integer: axis! } } });
  },
  ScatterNd: (graph, inputs, attrs) =>
    scatterAdd(
      graph,
      fill(graph, attrs.shape as number[], 0, "float32"),
      input(inputs, "indices"),
      input(inputs, "updates"),
    ),
  UnsortedSegmentSum: (graph, inputs, attrs) => {
    const [x, ids] = [input(inputs, "x"), input(inputs, "segmentIds")];
    const zeros = fill(graph, [attrs.numSegments as number, ...x.shape.slice(1)], 0, "float32");
    return scatterAdd(graph, zeros, reshape(graph, ids, [...ids.shape, 1]), x);
  },
};

/** `target` + `scattered` as one ScatterND onto `target`, where `scattered` is a ScatterND onto zeros. */
export function addScattered(graph: GraphBuilder, target: Value, scattered: Value): Value | undefined {
  const producer = graph.producerOf(scattered);
  if (producer?.operator !== "ScatterND" || target.shape.join() !== scattered.shape.join()) return undefined;
  const [zeros, indices, updates] = producer.inputs;
  if (graph.producerOf(zeros!)?.operator !== "Expand") return undefined;
  return scatterAdd(graph, target, indices!, updates!);
}

function scatterAdd(graph: GraphBuilder, target: Value, indices: Value, updates: Value): Value {
  return graph.node("ScatterND", [target, cast(graph, indices, "int64"), updates], target.shape, target.dtype, {
    attributes: { reduction: "add" },
  });
}
