// `--set path=value`: one change of a configuration on the command line, under the same rules as the file.

import { accepts, fields, nearestPath, sections } from "./fields.ts";
import { parseYaml } from "./yaml.ts";

/** A change as text, or with the option that it came from when that was not --set. */
export type Override = string | { readonly option: string; readonly set: string };

export interface Change {
  /** "train.learning_rate" */
  readonly path: string;
  /** Undefined takes the key out, so that its default holds. */
  readonly value: unknown;
  /** "--set train.learning_rate=3e-4" */
  readonly option: string;
}

/** What is wrong with an override, before its value is looked at. */
export interface BadOverride {
  readonly option: string;
  /** "" when there is none. */
  readonly path: string;
  /** Without the path: "unknown key; ..." */
  readonly message: string;
}

/**
 * Reads overrides in order; a section given as {key: value} changes just those keys. Values are YAML (or JSON), but a
 * field that holds text takes the characters as they stand, and `null` takes a key out of the file.
 */
export function parseOverrides(overrides: readonly Override[]): { changes: Change[]; bad: BadOverride[] } {
  const changes: Change[] = [];
  const bad: BadOverride[] = [];
  for (const override of overrides) {
    const text = typeof override === "string" ? override : override.set;
    const option = typeof override === "string" ? `--set ${override}` : override.option;
    const cut = text.indexOf("=");
    const path = (cut < 0 ? text : text.slice(0, cut)).trim();
    if (cut < 0 || path === "") {
      bad.push({ option, path: "", message: "expected path=value, such as --set train.learning_rate=3e-4" });
      continue;
    }
    const read = readValue(path, text.slice(cut + 1));
    if ("problem" in read) bad.push({ option, path, message: read.problem });
    else spread(path, read.value, option, changes, bad);
  }
  return { changes, bad };
}

/** "unknown key; did you mean ...?" for a path that is not in the schema. */
export function explainUnknown(path: string): string {
  const parts = path.split(".");
  for (let length = parts.length - 1; length > 0; length--) {
    const parent = parts.slice(0, length).join(".");
    const field = fields.get(parent);
    if (field) return `unknown key; ${parent} holds ${field.expected}, it has no keys of its own`;
  }
  const meant = nearestPath(path);
  if (meant !== undefined) return `unknown key; did you mean ${meant}?`;
  const section = sections.get(parts.slice(0, -1).join(".")) ?? sections.get("");
  const where = section === undefined || section.path === "" ? "at the top level" : `of ${section.path}`;
  return `unknown key; the keys ${where} are ${section?.keys.join(", ")}`;
}

function readValue(path: string, text: string): { value: unknown } | { problem: string } {
  const schema = fields.get(path)?.schema;
  const textual = schema !== undefined && accepts(schema, "string");
  const onlyText = schema?.type === "string" && schema.enum === undefined;
  const parsed = parseYaml(text);
  const [error] = [...parsed.syntax, ...parsed.duplicates];
  if (error) return textual ? { value: text.trim() } : { problem: error.message };
  if (parsed.value === null || parsed.value === undefined) {
    if (text.trim() === "") return { problem: `nothing comes after the =; write ${path}=null to take the key out` };
    return { value: schema && accepts(schema, "null") ? null : undefined };
  }
  if (onlyText && typeof parsed.value !== "string") return { value: text.trim() };
  return { value: parsed.value };
}

function spread(path: string, value: unknown, option: string, changes: Change[], bad: BadOverride[]): void {
  if (sections.has(path) && typeof value === "object" && value !== null && !Array.isArray(value)) {
    const entries = Object.entries(value);
    if (entries.length === 0) changes.push({ path, value, option });
    for (const [key, inner] of entries) spread(`${path}.${key}`, inner, option, changes, bad);
  } else if (fields.has(path) || sections.has(path)) changes.push({ path, value, option });
  else bad.push({ option, path, message: explainUnknown(path) });
}
