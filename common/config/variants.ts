// A section whose keys depend on one of them (the optimizer's on its name), seen as one list of keys: for the reference,
// for --set and for messages. Which keys go together is validated by the schema itself.

import { assert } from "../errors.ts";
import type { JsonSchema } from "./fields.ts";
import { listOf } from "./nearest.ts";

export interface MergedKey {
  readonly schema: JsonSchema;
  /** The variants that have this key; undefined when all have it. */
  readonly only: readonly string[] | undefined;
}

export interface MergedVariants {
  /** The key that selects: "name". */
  readonly selector: string;
  readonly keys: ReadonlyMap<string, MergedKey>;
}

/** Merges a union of sections that a constant key tells apart; undefined for any other schema. */
export function mergeVariants(schema: JsonSchema): MergedVariants | undefined {
  const variants = schema.oneOf?.map(({ properties }) => properties ?? {});
  if (variants === undefined) return undefined;
  const [first = {}] = variants;
  const selector = Object.keys(first).find((key) => variants.every((variant) => variant[key]?.const !== undefined));
  assert(selector !== undefined, "no constant key tells the variants of a section apart");
  const names = variants.map((variant) => String(variant[selector]?.const));
  const keys = new Map<string, MergedKey>();
  for (const key of new Set(variants.flatMap((variant) => Object.keys(variant)))) {
    const uses = variants.flatMap((variant, i) =>
      variant[key] ? [{ name: names[i] ?? "", schema: variant[key] }] : [],
    );
    const only = uses.length === variants.length ? undefined : uses.map(({ name }) => name);
    const schemas = uses.map((use) => use.schema);
    keys.set(key, { schema: key === selector ? selectorSchema(schemas) : mergeUses(uses, only !== undefined), only });
  }
  return { selector, keys };
}

function selectorSchema(schemas: readonly JsonSchema[]): JsonSchema {
  const description = schemas.find((schema) => schema.description !== undefined)?.description;
  const preset = schemas.find((schema) => schema.default !== undefined)?.default;
  return {
    type: "string",
    enum: schemas.map((schema) => schema.const),
    ...(description === undefined ? {} : { description }),
    ...(preset === undefined ? {} : { default: preset }),
  };
}

/** One key of several variants. What differs between them is told in the description. */
function mergeUses(uses: readonly { name: string; schema: JsonSchema }[], isPartial: boolean): JsonSchema {
  const [first] = uses;
  assert(first !== undefined, "a key of no variant");
  const texts = grouped(uses, ({ description = "" }) => description);
  const presets = grouped(uses, ({ default: preset }) => JSON.stringify(preset));
  const parts = texts.map(([text, names]) =>
    texts.length > 1 || isPartial ? `${listOf(names, "and")}: ${text}` : text,
  );
  if (presets.length > 1) {
    parts.push(`Default ${presets.map(([preset, names]) => `${preset} for ${listOf(names, "and")}`).join(", ")}.`);
  }
  const { default: preset, ...rest } = first.schema;
  return { ...rest, description: parts.join(" "), ...(presets.length === 1 ? { default: preset } : {}) };
}

/** The variants of each value, in the order of their first. */
function grouped(
  uses: readonly { name: string; schema: JsonSchema }[],
  valueOf: (schema: JsonSchema) => string,
): [value: string, names: string[]][] {
  const groups = new Map<string, string[]>();
  for (const { name, schema } of uses) groups.set(valueOf(schema), [...(groups.get(valueOf(schema)) ?? []), name]);
  return [...groups];
}
