// ONNX's file format: plain records in, ModelProto bytes out. The only place that knows protobuf.

import onnxProto from "onnx-proto";

const { onnx } = onnxProto;

export type Attribute =
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly integer: number }
  | { readonly graph: GraphRecord };

export interface ValueRecord {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: keyof typeof elementTypes;
}

export interface TensorRecord extends ValueRecord {
  readonly data: Float32Array | Int32Array | BigInt64Array | Uint8Array;
}

export interface NodeRecord {
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface GraphRecord {
  readonly inputs: readonly ValueRecord[];
  readonly outputs: readonly ValueRecord[];
  readonly nodes: readonly NodeRecord[];
  readonly constants: readonly TensorRecord[];
}

/** ONNX's numbers for the types of elements. */
export const elementTypes = { float32: 1, int32: 6, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const;

/** Opset 18 has LayerNormalization, ScatterND with reduction and axes as inputs; every execution provider supports it. */
const opset = 18;
const irVersion = 8;

export function encodeModel(graph: GraphRecord): Uint8Array {
  return onnx.ModelProto.encode({
    irVersion,
    producerName: "ringtune",
    opsetImport: [
      { domain: "", version: opset },
      { domain: "com.microsoft", version: 1 },
    ],
    graph: encodeGraph(graph),
  }).finish();
}

function encodeGraph(graph: GraphRecord): InstanceType<typeof onnx.GraphProto> {
  return onnx.GraphProto.create({
    name: "ringtune",
    node: graph.nodes.map(encodeNode),
    input: graph.inputs.map(encodeValue),
    output: graph.outputs.map(encodeValue),
    initializer: graph.constants.map(encodeTensor),
  });
}

function encodeNode(node: NodeRecord): InstanceType<typeof onnx.NodeProto> {
  return onnx.NodeProto.create({
    opType: node.operator,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(name, value)),
  });
}

function encodeAttribute(name: string, value: Attribute): InstanceType<typeof onnx.AttributeProto> {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === "string") {
    return onnx.AttributeProto.create({ name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if ("float" in value) return onnx.AttributeProto.create({ name, type: AttributeType.FLOAT, f: value.float });
  if ("integer" in value) return onnx.AttributeProto.create({ name, type: AttributeType.INT, i: value.integer });
  if ("graph" in value) {
    return onnx.AttributeProto.create({ name, type: AttributeType.GRAPH, g: encodeGraph(value.graph) });
  }
  return onnx.AttributeProto.create({ name, type: AttributeType.INTS, ints: [...value] });
}

function encodeValue({ name, shape, dtype }: ValueRecord): InstanceType<typeof onnx.ValueInfoProto> {
  const dim = shape.map((dimValue) => ({ dimValue }));
  return onnx.ValueInfoProto.create({ name, type: { tensorType: { elemType: elementTypes[dtype], shape: { dim } } } });
}

function encodeTensor({ name, shape, dtype, data }: TensorRecord): InstanceType<typeof onnx.TensorProto> {
  return onnx.TensorProto.create({
    name,
    dims: [...shape],
    dataType: elementTypes[dtype],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
}
