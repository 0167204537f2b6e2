// Kernels that move elements without computing: reshape, transpose, slice, concatenate, pad, tile, fill.

import type { Dtype, GraphBuilder, Shape, Value } from "../graph.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { axesOf, input, inputList } from "./inputs.ts";

export const shapeKernels: Record<string, KernelRecorder> = {
  Reshape: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    return reshape(graph, x, resolve(attrs.shape as number[], sizeOf(x.shape)));
  },
  ExpandDims: (graph, inputs, attrs) => {
    const x = input(inputs, "input");
    const [axis] = axesOf(attrs.dim as number, x.shape.length + 1);
    return reshape(graph, x, x.shape.toSpliced(axis!, 0, 1));
  },
  Transpose: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    return transpose(graph, x, attrs.perm as number[]);
  },
  Slice: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const begin = attrs.begin as number[];
    const size = (attrs.size as number[]).map((length, i) => (length === -1 ? x.shape[i]! - begin[i]! : length));
    const end = begin.map((start, i) => start + size[i]!);
    return graph.node("Slice", [x, graph.integers(begin), graph.integers(end)], size, x.dtype);
  },
  SplitV: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const [axis] = axesOf(attrs.axis as number, x.shape.length);
    const parts = attrs.numOrSizeSplits as number | number[];
    const sizes = typeof parts === "number" ? Array<number>(parts).fill(x.shape[axis!]! / parts) : parts;
    const outputs = sizes.map((size) => ({ shape: x.shape.with(axis!, size), dtype: x.dtype }));
    return graph.nodes("Split", [x, graph.integers(sizes)], outputs, { attributes: { axis: { integer: axis! } } });
  },
  Unpack: (graph, inputs, attrs) => {
    const x = input(inputs, "value");
    const [axis] = axesOf(attrs.axis as number, x.shape.length);
    const count = x.shape[axis!]!;
    const parts = graph.nodes(
      "Split",
      [x, graph.integers(Array<number>(count).fill(1))],
      Array.from({ length: count }, () => ({ shape: x.shape.with(axis!, 1), dtype: x.dtype })),
      { attributes: { axis: { integer: axis! } } },
    );
    return parts.map((part) => reshape(graph, part, x.shape.toSpliced(axis!, 1)));
  },
  Concat: (graph, inputs, attrs) => concat(graph, inputList(inputs), attrs.axis as number),
  Pack: (graph, inputs, attrs) => {
    const parts = inputList(inputs);
    const [axis] = axesOf(attrs.axis as number, parts[0]!.shape.length + 1);
    return concat(
      graph,
      parts.map((part) => reshape(graph, part, part.shape.toSpliced(axis!, 0, 1))),
      axis!,
    );
  },
  PadV2: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const paddings = attrs.paddings as [number, number][];
    const shape = x.shape.map((length, i) => length + paddings[i]![0] + paddings[i]![1]);
    const pads = graph.integers([...paddings.map(([before]) => before), ...paddings.map(([, after]) => after)]);
    return graph.node(
      "Pad",
      [x, pads, graph.scalar((attrs.constantValue as number | undefined) ?? 0, x.dtype)],
      shape,
      x.dtype,
    );
  },
  Tile: (graph, inputs, attrs) => {
    const x = input(inputs, "x");
    const reps = attrs.reps as number[];
    const shape = x.shape.map((length, i) => length * reps[i]!);
    return graph.node("Tile", [x, graph.integers(reps)], shape, x.dtype);
  },
  Fill: (graph, _, attrs) =>
    fill(graph, attrs.shape as number[], attrs.value as number, (attrs.dtype as Dtype | undefined) ?? "float32"),
  ZerosLike: (graph, inputs) => fill(graph, input(inputs, "x").shape, 0, input(inputs, "x").dtype),
  OnesLike: (graph, inputs) => fill(graph, input(inputs, "x").shape, 1, input(inputs, "x").dtype),
};

/** A reshape of a reshape is one reshape. */
export function reshape(graph: GraphBuilder, from: Value, shape: Shape): Value {
  const producer = graph.producerOf(from);
  const x = producer?.operator === "Reshape" ? producer.inputs[0]! : from;
  if (shape.length === x.shape.length && shape.every((length, i) => length === x.shape[i])) return x;
  return graph.node("Reshape", [x, graph.integers(shape)], shape, x.dtype);
}

/** A transpose of a transpose is one transpose, or none. */
export function transpose(graph: GraphBuilder, from: Value, permutation: readonly number[]): Value {
  const producer = graph.producerOf(from);
  const before = producer?.operator === "Transpose" ? (producer.attributes["perm"] as readonly number[]) : undefined;
  const x = before === undefined ? from : producer!.inputs[0]!;
  const perm = before === undefined ? permutation : permutation.map((axis) => before[axis]!);
  if (perm.every((axis, i) => axis === i)) return x;
  const shape = permutation.map((axis) => from.shape[axis]!);
  return graph.node("Transpose", [x], shape, x.dtype, { attributes: { perm } });
}

export function fill(graph: GraphBuilder, shape: Shape, value: number, dtype: Dtype): Value {
  const one = dtype === "float32" ? graph.scalar(value) : graph.constant(Int32Array.of(value), [], "int32");
  return graph.node("Expand", [one, graph.integers(shape)], shape, dtype);
}

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, length) => product * length, 1);
}

function concat(graph: GraphBuilder, parts: readonly Value[], axis: number): Value {
  const [first] = parts;
  const length = parts.reduce((sum, part) => sum + part.shape[axis]!, 0);
  return graph.node("Concat", parts, first!.shape.with(axis, length), first!.dtype, {
    attributes: { axis: { integer: axis } },
  });
}

function resolve(shape: readonly number[], size: number): number[] {
  const known = sizeOf(shape.filter((length) => length !== -1));
  return shape.map((length) => (length === -1 ? size / known : length));
}
