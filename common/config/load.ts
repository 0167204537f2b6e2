// A configuration from a YAML file and the command line: read, changed, validated, with every problem reported at once.
// The schema is in schema.ts, the combinations in rules.ts, YAML itself in yaml.ts.

import type { z } from "zod";
import { RingtuneError } from "../errors.ts";
import { choicesOf, fields, nearestPath, sections } from "./fields.ts";
import { listOf, nearest } from "./nearest.ts";
import { explainUnknown, parseOverrides, type Change, type Override } from "./overrides.ts";
import { apply, describeValue, isRecord, remove, valueAt, withoutEmptySections } from "./raw.ts";
import { readConfigText, whole } from "./read.ts";
import { checkRules } from "./rules.ts";
import { configSchema, type Config } from "./schema.ts";
import { formatYaml, parseYaml, type Place, type YamlFile } from "./yaml.ts";

export interface ConfigSource {
  /** YAML file. Neither this nor `text`: overrides alone. */
  readonly path?: string;
  /** The YAML itself, for tests and for text that has been read already; `path` then only names it. */
  readonly text?: string;
  readonly overrides?: readonly Override[];
}

interface Located {
  readonly path: string;
  readonly message: string;
  readonly place: Place | undefined;
  /** "--set ..." when the value came from there. */
  readonly option: string | undefined;
}

/**
 * Throws RingtuneError `config_invalid` that lists all problems, each with its place (file:line:column, or the option),
 * its path, what was expected and what came.
 */
export async function loadConfig(source: ConfigSource): Promise<Config> {
  const name = source.path ?? "the configuration";
  const text = source.text ?? (source.path === undefined ? "{}" : await readConfigText(source.path));
  const file = parseYaml(text);
  if (file.syntax.length > 0) {
    throw invalid(
      name,
      file.syntax.map(({ place, message }) => ({ path: "", message, place, option: undefined })),
    );
  }
  if (file.value === null || file.value === undefined) {
    throw whole(name, "is empty; begin with examples/sotu.yaml, or with the one line `train: {steps: 300}`");
  }
  if (!isRecord(file.value)) {
    throw whole(name, `must be sections such as train: and model:, but holds ${describeValue(file.value)}`);
  }
  const { changes, bad } = parseOverrides(source.overrides ?? []);
  const raw = withoutEmptySections(file.value);
  for (const change of changes) apply(raw, change);

  const problems: Located[] = [
    ...file.duplicates.map(({ path, place, message }) => ({ path, message, place, option: undefined })),
    ...bad.map(({ path, option, message }) => ({ path, message, place: undefined, option })),
  ];
  const { config, found } = validate(raw);
  for (const { path, keys, message } of found) problems.push({ path, message, ...locate(file, changes, [keys]) });
  // A rule is not heard on fields that are broken, or that are missing because their key is mistyped.
  const mentioned = [...found, ...bad].flatMap(({ path }) => [path, nearestPath(path)]);
  const isBroken = (path: string): boolean =>
    mentioned.some((broken) => broken !== undefined && (path === broken || path.startsWith(`${broken}.`)));
  for (const { path, message, involves } of config ? checkRules(config) : []) {
    if (!involves.some(isBroken)) {
      const keys = involves.map((involved) => involved.split("."));
      problems.push({ path, message, ...locate(file, changes, keys) });
    }
  }
  if (config === undefined || problems.length > 0) throw invalid(name, problems);
  return config;
}

/** The configuration as YAML that `loadConfig` reads back to the same. */
export function formatConfig(config: Config): string {
  return formatYaml(JSON.parse(JSON.stringify(config)));
}

/** All problems of the single fields, and what is valid of the configuration with defaults in place of the rest. */
function validate(raw: Record<string, unknown>): { config: Config | undefined; found: FieldProblem[] } {
  const first = configSchema.safeParse(raw);
  if (first.success) return { config: first.data, found: [] };
  const rest = structuredClone(raw);
  const found = first.error.issues.flatMap((issue) => {
    const problems = explainIssue(issue, raw);
    for (const { keys } of problems) remove(rest, keys);
    return problems;
  });
  // Without a selector that was mistyped, the keys of its section may seem wrong too, which is no news.
  const second = configSchema.safeParse(rest);
  for (const issue of second.error?.issues ?? []) {
    for (const { keys } of explainIssue(issue, rest)) remove(rest, keys);
  }
  return { config: second.data ?? configSchema.safeParse(rest).data, found };
}

interface FieldProblem {
  readonly path: string;
  /** The path, key by key: a key may hold a dot by mistake. */
  readonly keys: readonly string[];
  readonly message: string;
}

function explainIssue(issue: z.core.$ZodIssue, raw: unknown): FieldProblem[] {
  const parts = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const path = [...parts, key].join(".");
      const message = key.includes(".") ? explainDotted(path) : (explainOther(path, raw) ?? explainUnknown(path));
      return { path, keys: [...parts, key], message };
    });
  }
  // An element of a list is reported as its list.
  const keys = [...parts];
  while (!fields.has(keys.join(".")) && !sections.has(keys.join("."))) keys.pop();
  const path = keys.join(".");
  const value = valueAt(raw, keys);
  const field = fields.get(path);
  if (!field) {
    const example = sections.get(path)?.keys[0];
    return [
      { path, keys, message: `expected a section with keys such as ${path}.${example}, got ${describeValue(value)}` },
    ];
  }
  const choices = choicesOf(field.schema);
  const meant = typeof value === "string" ? nearest(value, choices) : undefined;
  const hint =
    meant !== undefined
      ? `; did you mean ${JSON.stringify(meant)}?`
      : field.schema.type === "string" && choices.length === 0 && ["number", "boolean"].includes(typeof value)
        ? "; put it in quotes"
        : "";
  return [{ path, keys, message: `expected ${field.expected}, got ${describeValue(value)}${hint}` }];
}

/** A key that exists, but for another choice: the momentum of an adamw. */
function explainOther(path: string, raw: unknown): string | undefined {
  const parent = path.slice(0, path.lastIndexOf("."));
  const section = sections.get(parent);
  const only = fields.get(path)?.only;
  if (only === undefined || section?.selector === undefined) return undefined;
  const selector = `${parent}.${section.selector}`;
  const chosen = String(valueAt(raw, selector.split(".")) ?? fields.get(selector)?.default);
  const own = section.keys.filter(
    (key) => key !== section.selector && (fields.get(`${parent}.${key}`)?.only?.includes(chosen) ?? true),
  );
  const names = listOf(only.map((name) => JSON.stringify(name)));
  return `is for ${names} only, and ${selector} is ${JSON.stringify(chosen)}, whose keys are ${listOf(own, "and")}`;
}

/** `train.steps: 300` in a file, where `train: {steps: 300}` is meant. */
function explainDotted(path: string): string {
  if (!fields.has(path)) return explainUnknown(path);
  const cut = path.lastIndexOf(".");
  return `sections are nested in a file; write "${path.slice(0, cut)}:" and, indented below it, "${path.slice(cut + 1)}:"`;
}

function invalid(name: string, problems: readonly Located[]): RingtuneError {
  const key = ({ place }: Located): number => (place ? place.line * 10_000 + place.column : Number.MAX_SAFE_INTEGER);
  const lines = [...problems]
    .sort((a, b) => key(a) - key(b))
    .map(({ path, message, place, option }) => {
      const where = option ?? (place ? `${name}:${place.line}:${place.column}` : name);
      return path === "" ? `${where}: ${message}` : `${where}: ${path}: ${message}`;
    });
  const [only] = lines;
  const message =
    lines.length === 1 && only !== undefined
      ? only
      : `${name} has ${lines.length} problems:\n${lines.map((line) => `  ${line}`).join("\n")}`;
  return new RingtuneError("config_invalid", message, { details: { path: name, problems: lines.length } });
}

function locate(
  file: YamlFile,
  changes: readonly Change[],
  paths: readonly (readonly string[])[],
): Pick<Located, "place" | "option"> {
  for (const keys of paths) {
    const path = keys.join(".");
    const change = changes.findLast((candidate) => path === candidate.path || path.startsWith(`${candidate.path}.`));
    if (change) return { place: undefined, option: change.option };
    const place = valueAt(file.value, keys) === undefined ? undefined : file.placeOf(keys);
    if (place) return { place, option: undefined };
  }
  return { place: undefined, option: undefined };
}
