// An ONNX graph under construction: values with known shapes, nodes, constants; dead nodes are dropped when it is
// encoded. It knows the format, not what the operators compute, and it runs nothing.

import type { ProviderName } from "../../../common/devices.ts";
import { assert } from "../../../common/errors.ts";
import {
  elementTypes,
  encodeModel,
  type Attribute,
  type GraphRecord,
  type NodeRecord,
  type TensorRecord,
} from "./proto.ts";

export type HalfType = "float16" | "bfloat16";
export type Dtype = "float32" | "int32" | "int64" | "bool" | HalfType;
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
  /** What matrix products compute in; left out, float32. See autocast.ts. */
  readonly half?: HalfType | undefined;
}

/** `captured` are the values that the graphs in its attributes use besides their own. `signals`: see GraphBuilder.signal. */
type RecordedNode = NodeRecord & { readonly captured: readonly string[]; readonly signals?: true };

export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #outputs: { name: string; value: Value }[] = [];
  readonly #nodes: RecordedNode[] = [];
  readonly #constants = new Map<string, TensorRecord>();
  readonly #interned = new Map<string, Value>();
  readonly #producers = new Map<string, Producer>();
  readonly #casts = new Map<string, Value>();
  readonly target: Target;
  readonly #prefix: string;
  #count = 0;

  /** Names begin with `prefix`: those of a graph within another must be of its own. */
  constructor(target: Target, prefix = "") {
    this.target = target;
    this.#prefix = prefix;
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

  scalar(value: number, dtype: Dtype = "float32"): Value {
    const constant = this.constant(Float32Array.of(value), [], "float32");
    return dtype === "float32" ? constant : this.cast(constant, dtype);
  }

  isConstant(value: Value): boolean {
    return this.#constants.has(value.name);
  }

  /** The same value as another type; asked for again, it is the same node. */
  cast(value: Value, dtype: Dtype): Value {
    if (value.dtype === dtype) return value;
    const key = `${value.name} ${dtype}`;
    const known = this.#casts.get(key);
    if (known !== undefined) return known;
    const cast = this.node("Cast", [value], value.shape, dtype, {
      attributes: { to: { integer: elementTypes[dtype] } },
    });
    this.#casts.set(key, cast);
    return cast;
  }

  /** Adds a node with several outputs. */
  nodes(
    operator: string,
    inputs: readonly Value[],
    outputs: readonly { shape: Shape; dtype: Dtype }[],
    { attributes = {}, domain = "" }: NodeOptions = {},
    captured: readonly string[] = [],
  ): Value[] {
    const values = outputs.map((output) => ({ name: this.#fresh(operator), ...output }));
    this.#nodes.push({
      operator,
      domain,
      attributes,
      inputs: inputs.map((value) => value.name),
      outputs: values.map((value) => value.name),
      captured,
    });
    for (const value of values) this.#producers.set(value.name, { operator, inputs, attributes });
    return values;
  }

  /** Adds a node with one output. */
  node(operator: string, inputs: readonly Value[], shape: Shape, dtype: Dtype, options: NodeOptions = {}): Value {
    return this.nodes(operator, inputs, [{ shape, dtype }], options)[0]!;
  }

  /**
   * Runs `body` on one block of the inputs' rows after another, `blocks` in all, and puts its results one below the other.
   * Besides its blocks the body may use inputs and constants of this graph. `within` calls `record` with the body's graph.
   */
  inBlocks(
    inputs: readonly Value[],
    blocks: number,
    record: (graph: GraphBuilder, parts: readonly Value[]) => readonly Value[],
  ): Value[] {
    const inner = new GraphBuilder(this.target, this.#fresh("block") + "/");
    const stacked = inputs.map((value) => {
      const [rows, ...rest] = value.shape as [number, ...number[]];
      return this.node("Reshape", [value, this.integers([blocks, rows / blocks, ...rest])], [blocks, rows / blocks, ...rest], value.dtype); // prettier-ignore
    });
    const parts = stacked.map(({ shape, dtype }, i) =>
      inner.input(`${inner.#prefix}input_${i}`, shape.slice(1), dtype),
    );
    const results = record(inner, parts);
    for (const [i, result] of results.entries()) inner.output(`${inner.#prefix}output_${i}`, result);
    const body = inner.#record();
    const outputs = results.map(({ shape, dtype }) => ({ shape: [blocks, ...shape], dtype }));
    const attributes = { body: { graph: body }, num_scan_inputs: { integer: inputs.length } };
    const scanned = this.nodes("Scan", stacked, outputs, { attributes }, capturedBy(body));
    return scanned.map((value, i) => {
      const { shape, dtype } = results[i]!;
      const joined = [blocks * shape[0]!, ...shape.slice(1)];
      return this.node("Reshape", [value, this.integers(joined)], joined, dtype);
    });
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

  /**
   * An output of float32 [outputs.length], the first elements of other outputs of float32: when it is there, so are those.
   * ONNX Runtime writes outputs on the CPU where the caller wants them while it computes, so whoever watches that place knows.
   */
  signal(name: string, outputs: readonly string[]): void {
    const before = this.#nodes.length;
    const firsts = outputs.map((wanted) => {
      const found = this.#outputs.find((output) => output.name === wanted);
      assert(found !== undefined, `${wanted} is an output of the graph`);
      const { value } = found;
      assert(value.shape.length > 0, `${wanted} has a first element`);
      const index = this.constant(new BigInt64Array(value.shape.length), [1, value.shape.length], "int64");
      return this.node("GatherND", [value, index], [1], value.dtype);
    });
    const attributes = { axis: { integer: 0 } };
    this.output(name, this.node("Concat", firsts, [firsts.length], "float32", { attributes }));
    for (let at = before; at < this.#nodes.length; at++) this.#nodes[at] = { ...this.#nodes[at]!, signals: true };
  }

  /** Serialised ModelProto of what the outputs need. */
  encode(): Uint8Array {
    return encodeModel(this.#record());
  }

  #record(): GraphRecord {
    const rename = new Map(this.#outputs.map(({ name, value }) => [value.name, name]));
    const named = (name: string): string => rename.get(name) ?? name;
    const live = this.#liveNodes();
    const used = new Set(live.flatMap((node) => [...node.inputs, ...node.captured]));
    return {
      inputs: this.#inputs,
      outputs: this.#outputs.map(({ name, value }) => ({ ...value, name })),
      nodes: outermostLast(live, used).map((node) => ({
        ...node,
        inputs: node.inputs.map(named),
        outputs: node.outputs.map(named),
      })),
      constants: [...this.#constants.values()].filter((constant) => used.has(constant.name)),
    };
  }

  #liveNodes(): RecordedNode[] {
    const needed = new Set(this.#outputs.map(({ value }) => value.name));
    const live: RecordedNode[] = [];
    for (const node of this.#nodes.toReversed()) {
      if (!node.outputs.some((name) => needed.has(name))) continue;
      for (const name of [...node.inputs, ...node.captured]) needed.add(name);
      live.push(node);
    }
    return live.reverse();
  }

  #fresh(prefix: string): string {
    return `${this.#prefix}${prefix}_${this.#count++}`;
  }
}

/**
 * `nodes` in an order in which ONNX Runtime computes each whose results no other uses as soon as it can. It begins with the
 * last of those in the file and what that needs, then goes on with the last but one; so they are put at the end, those
 * whose inputs are there first the last. Otherwise all gradients of weights come after the backward pass, and activations
 * stay until then. Of what a node needs it begins with the last in the file, too: what signals looks at goes there likewise.
 */
function outermostLast(nodes: readonly RecordedNode[], used: ReadonlySet<string>): RecordedNode[] {
  const places = new Map(nodes.flatMap((node, place) => node.outputs.map((name) => [name, { node, place }] as const)));
  const readyAt = ({ inputs, captured, signals }: RecordedNode): number =>
    Math.max(
      ...[...inputs, ...captured].map((name) => {
        const found = places.get(name);
        return found === undefined ? 0 : signals ? readyAt(found.node) : found.place;
      }),
    );
  const firstReadyLast = (some: readonly RecordedNode[]): RecordedNode[] =>
    some.toSorted((a, b) => readyAt(b) - readyAt(a));
  const isOutermost = ({ outputs }: RecordedNode): boolean => !outputs.some((name) => used.has(name));
  const withSignals = (node: RecordedNode): RecordedNode[] =>
    node.signals ? [...firstReadyLast(node.inputs.flatMap((name) => places.get(name)?.node ?? [])), node] : [node];
  const outermost = firstReadyLast(nodes.filter(isOutermost)).flatMap(withSignals);
  return [...nodes.filter((node) => !node.signals && !isOutermost(node)), ...outermost];
}

function capturedBy(graph: GraphRecord): string[] {
  const own = new Set([
    ...[...graph.inputs, ...graph.constants].map(({ name }) => name),
    ...graph.nodes.flatMap(({ outputs }) => outputs),
  ]);
  return [...new Set(graph.nodes.flatMap(({ inputs }) => inputs))].filter((name) => !own.has(name));
}
