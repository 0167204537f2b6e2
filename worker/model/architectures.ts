// Every architecture that can be trained, by the model_type of its config.json. To add one: a file that reads its config
// and computes it (a Model), and an entry here.

import { RingtuneError } from "../../common/errors.ts";
import { parseGpt2Config } from "./gpt2-config.ts";
import { createGpt2 } from "./gpt2.ts";
import type { Model } from "./model.ts";

export interface Architecture {
  /** The model that the parsed contents of a config.json describe; `where` names their source in messages. */
  create(json: object, where: string): Model;
}

export const architectures: Readonly<Record<string, Architecture>> = {
  gpt2: { create: (json, where) => createGpt2(parseGpt2Config(json, where), json) },
};

/**
 * The model of a config.json (parsed). Throws RingtuneError `model_mismatch` for an architecture that is not supported,
 * and for one that is, that lists every unsupported or missing setting.
 */
export function createModel(json: unknown, where: string): Model {
  const isObject = typeof json === "object" && json !== null && !Array.isArray(json);
  const type = isObject ? (json as { model_type?: unknown }).model_type : undefined;
  const architecture = typeof type === "string" && Object.hasOwn(architectures, type) ? architectures[type] : undefined;
  if (!isObject || architecture === undefined) {
    const found = type === undefined ? "no model_type" : `model_type ${JSON.stringify(type)}`;
    const known = Object.keys(architectures).join(", ");
    throw new RingtuneError("model_mismatch", `${where} has ${found}; supported are ${known}`, { details: { where } });
  }
  return architecture.create(json, where);
}
