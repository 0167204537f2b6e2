// Configuration data before it is validated: plain objects reached by path, and how a value is named in a message.

import type { Change } from "./overrides.ts";
import { sections } from "./fields.ts";

/** A copy; a section without keys, all of them commented out, is null in YAML and left out here. */
export function withoutEmptySections(value: Record<string, unknown>): Record<string, unknown> {
  const raw = structuredClone(value);
  for (const path of sections.keys()) {
    if (path !== "" && valueAt(raw, path.split(".")) === null) remove(raw, path.split("."));
  }
  return raw;
}

/** Puts a value (or an empty section, where there is none) at the path of a change, making the sections above it. */
export function apply(raw: Record<string, unknown>, { path, value }: Change): void {
  const parts = path.split(".");
  const last = parts.pop() ?? "";
  let node = raw;
  for (const part of parts) {
    if (!isRecord(node[part])) {
      if (node[part] !== undefined) return; // A value where a section belongs is reported as such.
      node[part] = {};
    }
    node = node[part] as Record<string, unknown>;
  }
  if (isRecord(value) && isRecord(node[last])) return; // A section is there, whatever it holds.
  if (value === undefined) delete node[last];
  else node[last] = value;
}

/** Takes a key out, if it is there. */
export function remove(raw: unknown, parts: readonly string[]): void {
  const parent = valueAt(raw, parts.slice(0, -1));
  const last = parts.at(-1);
  if (isRecord(parent) && last !== undefined) delete parent[last];
}

/** The value at a path; undefined when any part of it is missing. */
export function valueAt(raw: unknown, parts: readonly string[]): unknown {
  let node = raw;
  for (const part of parts) {
    if (!isRecord(node) || !Object.hasOwn(node, part)) return undefined;
    node = node[part];
  }
  return node;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** For messages: "the text "ten"", "the list [1,2]", "nothing". */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (typeof value === "string") return `the text ${shorten(JSON.stringify(value))}`;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = shorten(JSON.stringify(value));
  return Array.isArray(value) ? `the list ${text}` : `the section ${text}`;
}

function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
