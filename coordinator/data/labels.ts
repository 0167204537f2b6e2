// Labels as they stand in data: names, indices, true and false. Which labels there are when nobody names them, and which
// one a value means. Pure; where a value stands is the caller's to say.

import { nearest } from "../../common/config/nearest.ts";

/** An index, or what is wrong with the value, to stand after "the label is". */
export type FoundLabel = { readonly id: number } | { readonly problem: string };

/**
 * The names of all `values` that can be labels, without repetition: sorted by number when all are whole numbers, else by
 * code units.
 */
export function findLabels(values: Iterable<unknown>): string[] {
  const names = new Set<string>();
  for (const value of values) {
    const name = labelName(value);
    if (name !== undefined) names.add(name);
  }
  const isNumeric = [...names].every((name) => /^-?\d{1,15}$/.test(name));
  const byNumber = (a: string, b: string): number => Number(a) - Number(b);
  return [...names].sort(isNumeric ? byNumber : (a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** `value` as a name of `labels`, or else, if it is a whole number, as an index into them. */
export function createLabelReader(labels: readonly string[]): (value: unknown) => FoundLabel {
  const ids = new Map(labels.map((label, id) => [label, id]));
  const known = `the ${labels.length} labels${labels.length <= 12 ? ` (${labels.join(", ")})` : ""}`;
  return (value) => {
    const name = labelName(value);
    if (name === undefined) return { problem: `${shown(value)}, not the name or the index of a label` };
    const id = ids.get(name);
    if (id !== undefined) return { id };
    if (typeof value !== "number") {
      const meant = nearest(name, labels);
      return { problem: `${shown(value)}, none of ${known}${meant === undefined ? "" : `; did you mean "${meant}"?`}` };
    }
    if (value >= 0 && value < labels.length) return { id: value };
    return { problem: `${value}, out of range: there are ${labels.length} labels, 0 to ${labels.length - 1}` };
  };
}

function labelName(value: unknown): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  if (typeof value === "boolean") return String(value);
  return typeof value === "number" && Number.isSafeInteger(value) ? String(value) : undefined;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
