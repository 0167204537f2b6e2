// Checking a config.json of Hugging Face against the schema of an architecture, with every problem in one sentence.
// The schemas are with the architectures.

import { z } from "zod";
import { RingtuneError } from "../../common/errors.ts";

/** What a config says of dropout; a rate that it does not name is 0. */
export const dropoutRate = z
  .number()
  .min(0)
  .lt(1)
  .nullish()
  .transform((rate) => rate ?? 0);

/** Throws RingtuneError `model_mismatch` that lists every unsupported or missing setting of `json`. */
export function parseConfig<T>(schema: z.ZodType<T>, modelType: string, json: unknown, where: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw configMismatch(
    modelType,
    where,
    parsed.error.issues.map((issue) => describeIssue(issue, json)),
  );
}

export function configMismatch(modelType: string, where: string, problems: readonly string[]): RingtuneError {
  return new RingtuneError(
    "model_mismatch",
    `${where} does not describe a supported ${modelType} model: ${problems.join("; ")}`,
    { details: { where, problems: problems.length } },
  );
}

function describeIssue(issue: z.core.$ZodIssue, json: unknown): string {
  const path = issue.path.map(String).join(".");
  if (path === "")
    return `it holds ${json === null ? "null" : Array.isArray(json) ? "a list" : `a ${typeof json}`}, not an object`;
  const value = (json as Record<string, unknown>)[path];
  if (value === undefined) return `${path} is missing`;
  const wanted =
    issue.code === "invalid_value" ? `not ${issue.values.map((v) => JSON.stringify(v)).join(" or ")}` : issue.message;
  return `${path} is ${JSON.stringify(value)}: ${wanted}`;
}
