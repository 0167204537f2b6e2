// Kernels that work on each element: ONNX operators of the same meaning, with broadcasting where there are two inputs.

import { afterKernel, keepKernel } from "../../../model/kernels.ts";
import { tf } from "../../../model/tf.ts";
import type { Dtype, GraphBuilder, Value } from "../graph.ts";
import type { KernelRecorder } from "../tracing-backend.ts";
import { addScattered } from "./indexing.ts";
import { input, inputList } from "./inputs.ts";
import { reshape, sizeOf } from "./shapes.ts";

export const elementwiseKernels: Record<string, KernelRecorder> = {
  Add: (graph, inputs) => add(graph, input(inputs, "a"), input(inputs, "b")),
  AddN: (graph, inputs) => inputList(inputs).reduce((sum, value) => add(graph, sum, value)),
  Sub: binary("Sub"),
  Multiply: binary("Mul"),
  RealDiv: binary("Div"),
  Maximum: binary("Max"),
  Minimum: binary("Min"),
  Pow: binary("Pow"),
  Equal: binary("Equal", "bool"),
  Greater: binary("Greater", "bool"),
  GreaterEqual: binary("GreaterOrEqual", "bool"),
  Less: binary("Less", "bool"),
  LessEqual: binary("LessOrEqual", "bool"),
  LogicalAnd: binary("And", "bool"),
  LogicalOr: binary("Or", "bool"),
  SquaredDifference: (graph, inputs) => {
    const difference = binaryNode(graph, "Sub", input(inputs, "a"), input(inputs, "b"));
    return binaryNode(graph, "Mul", difference, difference);
  },

  Abs: unary("Abs"),
  Cos: unary("Cos"),
  Erf: unary("Erf"),
  Exp: unary("Exp"),
  Log: unary("Log"),
  LogicalNot: unary("Not"),
  Neg: unary("Neg"),
  Reciprocal: unary("Reciprocal"),
  Relu: unary("Relu"),
  Sigmoid: unary("Sigmoid"),
  Sign: unary("Sign"),
  Sin: unary("Sin"),
  Sqrt: unary("Sqrt"),
  Tanh: unary("Tanh"),
  Rsqrt: (graph, inputs) => {
    const x = input(inputs, "x");
    return unaryNode(graph, "Reciprocal", unaryNode(graph, "Sqrt", x));
  },
  Square: (graph, inputs) => binaryNode(graph, "Mul", input(inputs, "x"), input(inputs, "x")),

  Identity: (_, inputs) => input(inputs, "x"),
  Cast: (graph, inputs, attrs) => cast(graph, input(inputs, "x"), attrs.dtype as Dtype),
  Select: (graph, inputs) => {
    const [condition, t, e] = [input(inputs, "condition"), input(inputs, "t"), input(inputs, "e")];
    return graph.node("Where", [condition, t, e], t.shape, t.dtype);
  },
  // ONNX has no order but that of the data: a number of every event, times 0, is added. They are not known to be finite,
  // so no optimiser may leave them out.
  [afterKernel]: (graph, { x, ...events }) => {
    const firsts = Object.values(events).map((event) => {
      const flat = reshape(graph, event, [sizeOf(event.shape)]);
      const first = graph.node("Slice", [flat, graph.integers([0]), graph.integers([1])], [1], event.dtype);
      return graph.cast(first, x!.dtype);
    });
    const all = firsts.reduce((sum, first) => binaryNode(graph, "Add", sum, first));
    return binaryNode(graph, "Add", x!, binaryNode(graph, "Mul", all, graph.scalar(0, x!.dtype)));
  },
  // Where, and not a product: the mask stays a byte per element, and drops what is infinite too.
  [keepKernel]: (graph, inputs) => {
    const [x, mask] = [input(inputs, "x"), input(inputs, "mask")];
    return graph.node("Where", [mask, x, graph.scalar(0, x.dtype)], x.shape, x.dtype);
  },
};

export function cast(graph: GraphBuilder, x: Value, dtype: Dtype): Value {
  return graph.cast(x, dtype);
}

export function binaryNode(graph: GraphBuilder, operator: string, a: Value, b: Value, dtype = a.dtype): Value {
  const shape = tf.backend_util.assertAndGetBroadcastShape([...a.shape], [...b.shape]);
  return graph.node(operator, [a, b], shape, dtype);
}

function unaryNode(graph: GraphBuilder, operator: string, x: Value): Value {
  return graph.node(operator, [x], x.shape, x.dtype);
}

function binary(operator: string, dtype?: Dtype): KernelRecorder {
  return (graph, inputs) => binaryNode(graph, operator, input(inputs, "a"), input(inputs, "b"), dtype);
}

function unary(operator: string): KernelRecorder {
  return (graph, inputs) => unaryNode(graph, operator, input(inputs, "x"));
}

function add(graph: GraphBuilder, a: Value, b: Value): Value {
  return addScattered(graph, a, b) ?? addScattered(graph, b, a) ?? binaryNode(graph, "Add", a, b);
}
