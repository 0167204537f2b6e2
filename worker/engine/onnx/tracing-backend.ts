// A TensorFlow.js backend that computes nothing: its tensors are values of an ONNX graph and running a kernel adds nodes.
// Tracing a function on it, gradients included, yields the graph that computes it. The kernels are in kernels/.

import { assert } from "../../../common/errors.ts";
import { blockwiseKernel, type BlockwiseAttrs } from "../../model/kernels.ts";
import { tf } from "../../model/tf.ts";
import { withBackend } from "../with-backend.ts";
import { autocast, isHalf } from "./autocast.ts";
import { GraphBuilder, type Dtype, type HalfType, type Target, type Value } from "./graph.ts";
import { blocksOf } from "./kernels/blocks.ts";
import { inputList } from "./kernels/inputs.ts";
import { kernels } from "./kernels/table.ts";

const backendName = "onnx";

/** Adds nodes for one kernel and returns its outputs. */
export type KernelRecorder = (
  graph: GraphBuilder,
  inputs: Readonly<Record<string, Value>>,
  // TensorFlow.js's attributes have a type of their own per kernel; each recorder names the ones that it reads.
  attrs: Readonly<Record<string, unknown>>,
) => Value | Value[];

class TracingBackend extends tf.KernelBackend {
  #graph: GraphBuilder | undefined;
  readonly #values = new WeakMap<object, Value>();

  /** Runs `body` with a fresh graph; not reentrant, not async. */
  record<T>(target: Target, body: (graph: GraphBuilder) => T): T {
    assert(this.#graph === undefined, "a trace is already running");
    this.#graph = new GraphBuilder(target);
    try {
      return body(this.#graph);
    } finally {
      this.#graph = undefined;
    }
  }

  /** The same with a graph within the one that is recorded. */
  recordWithin<T>(graph: GraphBuilder, body: () => T): T {
    const outer = this.graph;
    this.#graph = graph;
    try {
      return body();
    } finally {
      this.#graph = outer;
    }
  }

  get graph(): GraphBuilder {
    assert(this.#graph !== undefined, "the onnx backend only works inside a trace");
    return this.#graph;
  }

  hold(value: Value): tf.DataId {
    const dataId = {};
    this.#values.set(dataId, value);
    return dataId;
  }

  held(dataId: tf.DataId): Value {
    const value = this.#values.get(dataId);
    assert(value !== undefined, "this tensor belongs to another backend");
    return value;
  }

  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): tf.DataId {
    assert(values !== null && typeof values[0] !== "string", `the onnx backend has no ${dtype} constants`);
    const numbers = values as ArrayLike<number>;
    switch (dtype) {
      case "float32":
        return this.hold(this.graph.constant(Float32Array.from(numbers), shape, "float32"));
      case "int32":
        return this.hold(this.graph.constant(Int32Array.from(numbers), shape, "int32"));
      case "bool":
        return this.hold(this.graph.constant(Uint8Array.from(numbers), shape, "bool"));
      case "complex64":
      case "string":
        throw new Error(`the onnx backend has no ${dtype} tensors`);
    }
  }

  // Nothing is ever freed while tracing: the graph refers to it.
  override disposeData(): boolean {
    return true;
  }
  override incRef(): void {}
  override refCount(): number {
    return 1;
  }
  override numDataIds(): number {
    return 0;
  }
  override memory(): { unreliable: boolean } {
    return { unreliable: false };
  }
  override epsilon(): number {
    return 1e-7;
  }
  override floatPrecision(): 32 {
    return 32;
  }
  override readSync(): never {
    throw new Error("a traced tensor has no value yet: it cannot be read while tracing");
  }
}

const backend = new TracingBackend();
let registered = false;

function register(): void {
  if (registered) return;
  registered = true;
  tf.registerBackend(backendName, () => backend, 0);
  for (const [kernelName, record] of Object.entries(kernels)) {
    tf.registerKernel({ kernelName, backendName, kernelFunc: (call) => runKernel(kernelName, record, call) });
  }
  tf.registerKernel({
    kernelName: blockwiseKernel,
    backendName,
    kernelFunc: (call) => runKernel(blockwiseKernel, recordBlocks, call),
  });
}

/** Operations that are written in TensorFlow.js, on a block of rows at a time where that keeps them in the cache. */
const recordBlocks: KernelRecorder = (graph, inputs, attrs) => {
  const { body } = attrs as unknown as BlockwiseAttrs;
  const whole = inputList(inputs);
  const record = (inner: GraphBuilder, parts: readonly Value[]): Value[] =>
    backend.recordWithin(inner, () => body(...parts.map(tensorOf)).map(({ dataId }) => backend.held(dataId)));
  const blocks = blocksOf(graph.target, whole);
  return blocks === 1 ? record(graph, whole) : graph.inBlocks(whole, blocks, record);
};

function tensorOf(value: Value): tf.Tensor {
  const { dataId, shape, dtype } = infoOf(value);
  return tf.engine().makeTensorFromDataId(dataId, shape, dtype, backend);
}

function runKernel(
  kernelName: string,
  record: KernelRecorder,
  { inputs, attrs }: { inputs: tf.NamedTensorInfoMap; attrs?: tf.NamedAttrMap },
): tf.TensorInfo | tf.TensorInfo[] {
  const values: Record<string, Value> = {};
  for (const [name, info] of Object.entries(inputs)) if (info !== undefined) values[name] = backend.held(info.dataId);
  const result = record(backend.graph, autocast(backend.graph, kernelName, values), attrs ?? {});
  return Array.isArray(result) ? result.map(infoOf) : infoOf(result);
}

function infoOf(value: Value): tf.TensorInfo {
  assert(value.dtype !== "int64", "int64 values do not leave a kernel");
  const dtype = isHalf(value.dtype) ? "float32" : (value.dtype as Exclude<Dtype, "int64" | HalfType>);
  return { dataId: backend.hold(value), shape: [...value.shape], dtype };
}

/** What a traced function is given. */
export interface Trace {
  input(name: string, shape: readonly number[], dtype: Exclude<Dtype, "int64" | HalfType>): tf.Tensor;
  output(name: string, tensor: tf.Tensor): void;
  /** See GraphBuilder. */
  signal(name: string, outputs: readonly string[]): void;
}

/**
 * The ONNX model (serialised) of what `body` computes from its inputs to its outputs, for `target`.
 * TensorFlow.js's current backend is the same afterwards as before. Kernels that are not in the table fail by name.
 */
export function traceModel(target: Target, body: (trace: Trace) => void): Uint8Array {
  register();
  return withBackend(backendName, () =>
    backend.record(target, (graph) => {
      tf.tidy(() =>
        body({
          input: (name, shape, dtype) => tensorOf(graph.input(name, shape, dtype)),
          output: (name, tensor) => {
            const value = backend.held(tensor.dataId);
            graph.output(name, isHalf(value.dtype) ? graph.cast(value, "float32") : value);
          },
          signal: (name, outputs) => graph.signal(name, outputs),
        }),
      );
      return graph.encode();
    }),
  );
}
