// Parameters chosen by patterns over their names, and names in a sentence: hundreds of blocks are one "N".

import { RingtuneError } from "../../common/errors.ts";

/**
 * Whether one of `patterns` matches a name. `*` is any text, `?` any character, `[0-3]` one of a range; everything else
 * stands for itself, and a pattern is the whole name.
 * Throws `config_invalid` for a pattern that matches none of `names`; `path` is the setting that holds the patterns.
 */
export function matcherOf(
  patterns: readonly string[],
  names: readonly string[],
  path: string,
): (name: string) => boolean {
  const compiled = patterns.map((pattern) => ({ pattern, regex: regexOf(pattern) }));
  const unmatched = compiled.filter(({ regex }) => !names.some((name) => regex.test(name)));
  if (unmatched.length > 0) {
    const which = unmatched.map(({ pattern }) => JSON.stringify(pattern)).join(", ");
    throw new RingtuneError(
      "config_invalid",
      `${path}: ${which} ${unmatched.length === 1 ? "matches" : "match"} no parameter of the model; its parameters are ${describeNames(names)} (* is any text)`,
      { details: { unmatched: unmatched.length, parameters: names.length } },
    );
  }
  return (name) => compiled.some(({ regex }) => regex.test(name));
}

/** "transformer.wte.weight, transformer.h.N.ln_1.weight (N is 0 to 11)" */
export function describeNames(names: readonly string[]): string {
  let largest = -1;
  const shapes = new Set(
    names.map((name) =>
      name.replace(/(?<=\.)\d+(?=\.)/g, (digits) => {
        largest = Math.max(largest, Number(digits));
        return "N";
      }),
    ),
  );
  return [...shapes].join(", ") + (largest < 0 ? "" : ` (N is 0 to ${largest})`);
}

function regexOf(pattern: string): RegExp {
  const parts = pattern.split(/(\*|\?|\[[^\]]+\])/).map((part) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    if (/^\[[^\]]+\]$/.test(part)) return `[${part.slice(1, -1).replace(/[\\^]/g, "\\$&")}]`;
    return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${parts.join("")}$`);
}
