// An ONNX graph under construction: values with known shapes, nodes, constants; dead nodes are dropped when it is
// encoded. It knows the format, not what the operators compute, and it runs nothing.

import type { ProviderName } from "../../../common/devices.ts";
import { assert } from "../../../common/errors.ts";
import { encodeModel, type Attribute, type NodeRecord, type TensorRecord } from "./proto.ts";

export type Dtype = "float32" | "int32" | "int64" | "bool";
export type Shape = readonly number[];

/** A tensor that the graph will hold when it runs. */
export interface Value {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: Dtype;
}

export type Attributes = Readonly<Record<string, Attribute>>;

interface NodeOptions {
  readonly attributes?: Attributes;
  /** "com.microsoft" for ONNX Runtime's own operators. */
  readonly domain?: string;
}

/** What produced a value, for rewrites that look back. */
export interface Producer {
  readonly operator: string;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
}

/** What the graph will run on: which operators are right there, and which are fast, depends on it. */
export interface Target {
  readonly provider: ProviderName;
  /** Of the CPU provider. */
  readonly threads: number;
}

export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #outputs: { name: string; value: Value }[] = [];
  readonly #nodes: NodeRecord[] = [];
  readonly #constants = new Map<string, TensorRecord>();
  readonly #interned = new Map<string, Value>();
  readonly #producers = new Map<string, Producer>();
  readonly target: Target;
  #count = 0;

  constructor(target: Target) {
    this.target = target;
  }

  input(name: string, shape: Shape, dtype: Dtype): Value {
    const value = { name, shape, dtype };
    this.#inputs.push(value);
    return value;
  }

  /** Equal small constants are stored once. */
  constant(data: Float32Array | Int32Array | BigInt64Array | Uint8Array, shape: Shape, dtype: Dtype): Value {
    const key = data.length <= 16 ? `${dtype}[${shape.join()}]${data.join()}` : undefined;
    const known = key === undefined ? undefined : this.#interned.get(key);
    if (known !== undefined) return known;
    const value = { name: this.#fresh("constant"), shape, dtype };
    this.#constants.set(value.name, { ...value, data });
    if (key !== undefined) this.#interned.set(key, value);
    return value;
  }

  /** A one-dimensional int64 constant: axes, shapes, starts. */
  integers(values: readonly number[]): Value {
    return this.constant(BigInt64Array.from(values.map(BigInt)), [values.length], "int64");
  }

  scalar(value: number): Value {
    return this.constant(Float32Array.of(value), [], "float32");
  }

  /** Adds a node with several outputs. */
  nodes(
    operator: string,
    inputs: readonly Value[],
    outputs: readonly { shape: Shape; dtype: Dtype }[],
    { attributes = {}, domain = "" }: NodeOptions = {},
  ): Value[] {
    const values = outputs.map((output) => ({ name: this.#fresh(operator), ...output }));
    this.#nodes.push({
      operator,
      domain,
      attributes,
      inputs: inputs.map((value) => value.name),
      outputs: values.map((value) => value.name),
    });
    for (const value of values) this.#producers.set(value.name, { operator, inputs, attributes });
    return values;
  }

  /** Adds a node with one output. */
  node(operator: string, inputs: readonly Value[], shape: Shape, dtype: Dtype, options: NodeOptions = {}): Value {
    return this.nodes(operator, inputs, [{ shape, dtype }], options)[0]!;
  }

  /** The node that computes `value`; undefined for inputs and constants. */
  producerOf(value: Value): Producer | undefined {
    return this.#producers.get(value.name);
  }

  output(name: string, value: Value): void {
    assert(!this.#outputs.some((output) => output.name === name), `graph output ${name} is given twice`);
    // An output needs a node of its own: the value may be an input, a constant or another output already.
    const fresh = this.#producers.has(value.name) && !this.#outputs.some((output) => output.value.name === value.name);
    this.#outputs.push({ name, value: fresh ? value : this.node("Identity", [value], value.shape, value.dtype) });
  }

  /** Serialised ModelProto of what the outputs need; nodes are in the order in which they were added. */
  encode(): Uint8Array {
    const rename = new Map(this.#outputs.map(({ name, value }) => [value.name, name]));
    const named = (name: string): string => rename.get(name) ?? name;
    const live = this.#liveNodes();
    const used = new Set(live.flatMap((node) => node.inputs));
    return encodeModel({
      inputs: this.#inputs,
      outputs: this.#outputs.map(({ name, value }) => ({ ...value, name })),
      nodes: live.map((node) => ({ ...node, inputs: node.inputs.map(named), outputs: node.outputs.map(named) })),
      constants: [...this.#constants.values()].filter((constant) => used.has(constant.name)),
    });
  }

  #liveNodes(): NodeRecord[] {
    const needed = new Set(this.#outputs.map(({ value }) => value.name));
    const live: NodeRecord[] = [];
    for (const node of this.#nodes.toReversed()) {
      if (!node.outputs.some((name) => needed.has(name))) continue;
      for (const name of node.inputs) needed.add(name);
      live.push(node);
    }
    return live.reverse();
  }

  #fresh(prefix: string): string {
    return `${prefix}_${this.#count++}`;
  }
}
