// Weights from a safetensors file into a flat buffer, by a model's layout. Every mismatch is reported at once.
// Accepts what Hugging Face's from_pretrained accepts: a missing base prefix, saved buffers, a tied head.

import { RingtuneError } from "../../common/errors.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";

const listedAtMost = 10;

/** In which ways a file may differ from the model's own names. */
export interface FileConventions {
  /** Of the model without its head ("transformer."); files of the bare model lack it. */
  readonly prefix: string;
  /** Tensors that are not parameters: buffers that old versions saved. */
  readonly ignored: RegExp;
  /** Tensors that may be stored again under a second name, by that name: they must be equal. */
  readonly tied: Readonly<Record<string, string>>;
}

const strict: FileConventions = { prefix: "", ignored: /^$/, tied: {} };

/** A tensor that must be in the file, and where it goes. */
export interface TensorTarget {
  readonly name: string;
  readonly shape: readonly number[];
  readonly into: Float32Array;
}

/**
 * Reads every parameter of `layout` from the file at `path` into `into` (flat, `layout.size` elements).
 * Throws `checkpoint_invalid` that lists all missing, unexpected and mis-shaped tensors together, or that names the
 * tensor and element that is not finite. `into` is undefined after an error.
 */
export async function loadParameters(
  path: string,
  layout: ParameterLayout,
  into: Float32Array,
  conventions: FileConventions = strict,
): Promise<void> {
  const targets = layout.specs.map((spec) => ({ name: spec.name, shape: spec.shape, into: viewOf(into, spec) }));
  await loadTensors(path, targets, conventions);
}

/** As `loadParameters`, for any tensors. */
export async function loadTensors(
  path: string,
  targets: readonly TensorTarget[],
  conventions: FileConventions = strict,
): Promise<void> {
  const file = await openSafetensors(path);
  try {
    const names = matchTensors(file, targets, conventions);
    for (const [target, name] of names) await file.read(name, target.into);
    for (const [name, original] of Object.entries(conventions.tied)) await assertTied(file, names, name, original);
  } finally {
    await file.close();
  }
}

/** The name in the file of every target. */
function matchTensors(
  file: SafetensorsFile,
  targets: readonly TensorTarget[],
  { prefix, ignored, tied }: FileConventions,
): Map<TensorTarget, string> {
  const found = new Map<TensorTarget, string>();
  const unexpected = new Set(
    [...file.tensors.keys()].filter((name) => !ignored.test(name) && !Object.hasOwn(tied, name)),
  );
  const missing: string[] = [];
  const misshaped: string[] = [];
  for (const target of targets) {
    const bare = target.name.startsWith(prefix) ? target.name.slice(prefix.length) : target.name;
    const entry = file.tensors.get(target.name) ?? file.tensors.get(bare);
    if (entry === undefined) {
      missing.push(`${target.name} [${target.shape.join(", ")}]`);
      continue;
    }
    unexpected.delete(entry.name);
    if (entry.shape.length !== target.shape.length || entry.shape.some((size, i) => size !== target.shape[i])) {
      misshaped.push(`${target.name} is [${entry.shape.join(", ")}], the config says [${target.shape.join(", ")}]`);
    }
    found.set(target, entry.name);
  }
  const problems = [
    describeList("missing", missing),
    describeList("unexpected", [...unexpected]),
    describeList("of another shape", misshaped),
  ].filter((problem) => problem !== "");
  if (problems.length > 0) {
    throw new RingtuneError(
      "checkpoint_invalid",
      `${file.path} does not hold the model that its config describes: ${problems.join("; ")}`,
      {
        details: {
          file: file.path,
          missing: missing.length,
          unexpected: unexpected.size,
          misshaped: misshaped.length,
        },
      },
    );
  }
  return found;
}

/** A model without a head of its own may store the tied one again, but it must be the embedding. */
async function assertTied(
  file: SafetensorsFile,
  names: ReadonlyMap<TensorTarget, string>,
  head: string,
  original: string,
): Promise<void> {
  const embedding = [...names.keys()].find(({ name }) => name === original);
  const stored = file.tensors.get(head);
  if (stored === undefined || embedding === undefined) return;
  const same = stored.shape.length === 2 && stored.shape.every((size, i) => size === embedding.shape[i]);
  const own = new Float32Array(same ? embedding.into.length : 0);
  if (same) await file.read(head, own);
  const different = same ? own.findIndex((value, i) => value !== embedding.into[i]) : 0;
  if (different === -1) return;
  throw new RingtuneError(
    "checkpoint_invalid",
    `${file.path} has a ${head} that is not ${embedding.name} (first difference at element ${different}); ` +
      `set tie_word_embeddings to false in its config.json if the head is a matrix of its own`,
    { details: { file: file.path, tensor: head, element: different } },
  );
}

function describeList(what: string, items: readonly string[]): string {
  if (items.length === 0) return "";
  const shown = items.slice(0, listedAtMost).join(", ");
  const more = items.length > listedAtMost ? ` and ${items.length - listedAtMost} more` : "";
  return `${items.length} ${what} (${shown}${more})`;
}
