// YAML in and out, with the place of every key: the only file that imports the yaml package.
// What the keys mean is not known here.

import { isAlias, isCollection, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, stringify } from "yaml";
import type { Document, Node } from "yaml";

/** Line and column, both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface YamlProblem {
  readonly place: Place;
  readonly message: string;
}

export interface YamlFile {
  /** Plain data; undefined when there are syntax errors, null when there is nothing but comments. */
  readonly value: unknown;
  /** The text can't be understood. */
  readonly syntax: readonly YamlProblem[];
  /** The text can be understood, but one key hides another. */
  readonly duplicates: readonly (YamlProblem & { readonly path: string })[];
  /** Where the key at `path` stands, or its nearest parent that is written down. */
  placeOf(path: readonly PropertyKey[]): Place | undefined;
}

/** Never throws: what is wrong with the text is in the result. */
export function parseYaml(text: string): YamlFile {
  const lines = new LineCounter();
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const failed = (syntax: YamlProblem[]): YamlFile => ({
    value: undefined,
    syntax,
    duplicates: [],
    placeOf: () => undefined,
  });
  let document: Document.Parsed;
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: "error" });
  } catch (error) {
    // Absurd nesting overflows the parser's stack.
    const message = error instanceof RangeError ? "it is nested too deeply" : String(error);
    return failed([{ place: { line: 1, column: 1 }, message }]);
  }
  const errors = [...document.errors, ...document.warnings];
  if (errors.length > 0) {
    const problems = errors.map((error) => ({
      place: place(error.pos[0]),
      message: explain(error.code, error.message),
    }));
    // What follows the first error in a line, or the fifth in the file, is mostly its consequence.
    return failed(problems.filter(({ place: { line } }, i) => line !== problems[i - 1]?.place.line).slice(0, 5));
  }
  const duplicates: (YamlProblem & { path: string })[] = [];
  let value: unknown;
  try {
    if (document.contents !== null) findDuplicates(document.contents, "", place, duplicates);
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    const message =
      error instanceof RangeError ? "it is nested too deeply" : `not valid YAML: ${(error as Error).message}`;
    return failed([{ place: { line: 1, column: 1 }, message }]);
  }
  return {
    value,
    syntax: [],
    duplicates,
    placeOf(path) {
      const offset = offsetOf(document, path);
      return offset === undefined ? undefined : place(offset);
    },
  };
}

/** Plain data as YAML, a key a line. */
export function formatYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}

function explain(code: string, message: string): string {
  const first = (message.split("\n")[0] ?? message).slice(0, 120).trimEnd().replace(/\.$/, "");
  switch (code) {
    case "TAB_AS_INDENT":
      return "a tab can't indent; use spaces";
    case "MULTIPLE_DOCS":
      return "a second document begins here; a configuration is one document, without further --- lines";
    default:
      return `not valid YAML: ${first}`;
  }
}

function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const key of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.findLast((item) => keyText(item.key) === String(key));
      if (pair === undefined) return offset;
      if (isNode(pair.key) && pair.key.range) offset = pair.key.range[0];
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      if (isNode(node) && node.range) offset = node.range[0];
    } else return offset;
  }
  return offset;
}

function findDuplicates(
  node: Node,
  path: string,
  place: (offset: number) => Place,
  found: (YamlProblem & { path: string })[],
): void {
  if (!isCollection(node)) return;
  const first = new Map<string, Place>();
  for (const item of node.items) {
    if (isNode(item)) {
      findDuplicates(item, path, place, found);
      continue;
    }
    if (typeof item !== "object" || item === null || !("key" in item)) continue;
    const key = keyText(item.key);
    const keyPath = path === "" ? key : `${path}.${key}`;
    const here = place((isNode(item.key) && item.key.range?.[0]) || 0);
    const earlier = first.get(key);
    if (earlier) {
      found.push({
        place: here,
        path: keyPath,
        message: `given twice, first in line ${earlier.line}; remove one of them`,
      });
    } else first.set(key, here);
    if ("value" in item && isNode(item.value)) findDuplicates(item.value, keyPath, place, found);
  }
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}
