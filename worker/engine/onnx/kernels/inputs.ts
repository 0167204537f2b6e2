// Access to a kernel's named inputs, and to the axes that its attributes name.

import { assert } from "../../../../common/errors.ts";
import type { Value } from "../graph.ts";

export type Inputs = Readonly<Record<string, Value>>;

export function input(inputs: Inputs, name: string): Value {
  const value = inputs[name];
  assert(value !== undefined, `kernel input ${name} is missing`);
  return value;
}

/** The inputs of kernels that take any number of them, in order. */
export function inputList(inputs: Inputs): Value[] {
  return Object.keys(inputs)
    .sort((a, b) => Number(a) - Number(b))
    .map((name) => input(inputs, name));
}

/** Axes as non-negative numbers: negative ones count from the end, null is all of them. */
export function axesOf(axes: number | readonly number[] | null, rank: number): number[] {
  if (axes === null) return Array.from({ length: rank }, (_, i) => i);
  return [axes].flat().map((axis) => (axis < 0 ? axis + rank : axis));
}
