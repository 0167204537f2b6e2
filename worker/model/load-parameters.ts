// Weights from safetensors into flat buffers, tensor by tensor. Every mismatch is reported at once. Accepts what Hugging
// Face's from_pretrained accepts: a missing base prefix, saved buffers, old names, a tied head, another head or none.

import { RingtuneError } from "../../common/errors.ts";
import { viewOf, type ParameterLayout } from "./parameters.ts";
import { openSafetensors } from "./safetensors.ts";
import type { TensorSource } from "./shards.ts";

const listedAtMost = 10;

/** In which ways a file may differ from the model's own names. */
export interface FileConventions {
  /** Of the model without its head ("transformer."); files of the bare model lack it. */
  readonly prefix: string;
  /** Tensors that are not parameters: buffers that old versions saved. */
  readonly ignored: RegExp;
  /** Tensors that may be stored again under a second name, by that name: they must be equal. */
  readonly tied: Readonly<Record<string, string>>;
  /** Old names, as replacements. */
  readonly renamed?: readonly (readonly [RegExp, string])[];
  /** Tensors of heads: a file may have other ones than the model, and may lack the model's. */
  readonly heads?: RegExp;
}

const strict: FileConventions = { prefix: "", ignored: /^$/, tied: {} };

/** A tensor that must be in the file, and where it goes. */
export interface TensorTarget {
  readonly name: string;
  readonly shape: readonly number[];
  readonly into: Float32Array;
}

export interface LoadOptions {
  readonly conventions?: FileConventions;
  /**
   * Fills a tensor of a head that the file lacks as a whole: what fine-tuning with a new head begins with. Without it
   * such a tensor is missing like any other.
   */
  readonly initialise?: (target: TensorTarget) => void;
}

/** What was read in another way than one to one. */
export interface LoadReport {
  /** Tensors of a new head, which the file did not have. */
  readonly initialised: readonly string[];
  /** Tensors of heads that the model does not have. */
  readonly unused: readonly string[];
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
  await loadTensors(path, targetsOf(layout, into), { conventions });
}

/** As `loadParameters`, for any tensors. */
export async function loadTensors(
  path: string,
  targets: readonly TensorTarget[],
  options: LoadOptions = {},
): Promise<LoadReport> {
  return readTensors(await openSafetensors(path), targets, options);
}

/** As `loadTensors`, from `source`, which it closes. */
export async function readTensors(
  source: TensorSource,
  targets: readonly TensorTarget[],
  { conventions = strict, initialise }: LoadOptions = {},
): Promise<LoadReport> {
  try {
    const { names, initialised, unused } = matchTensors(source, targets, conventions, initialise !== undefined);
    for (const [target, name] of names) await source.read(name, target.into);
    for (const target of initialised) initialise?.(target);
    for (const [name, original] of Object.entries(conventions.tied)) await assertTied(source, names, name, original);
    return { initialised: initialised.map(({ name }) => name), unused };
  } finally {
    await source.close();
  }
}

/** Every tensor of `layout` as a view of `flat`. */
export function targetsOf(layout: ParameterLayout, flat: Float32Array): TensorTarget[] {
  return layout.specs.map((spec) => ({ name: spec.name, shape: spec.shape, into: viewOf(flat, spec) }));
}

interface Match {
  /** The name in the file of every target that is there. */
  readonly names: ReadonlyMap<TensorTarget, string>;
  readonly initialised: readonly TensorTarget[];
  readonly unused: readonly string[];
}

function matchTensors(
  source: TensorSource,
  targets: readonly TensorTarget[],
  { prefix, ignored, tied, renamed = [], heads }: FileConventions,
  mayInitialise: boolean,
): Match {
  const canonical = (name: string): string =>
    renamed.reduce((changed, [pattern, replacement]) => changed.replace(pattern, replacement), name);
  const byName = new Map([...source.tensors.values()].map((entry) => [canonical(entry.name), entry]));
  const modules = new Set([...byName.keys()].flatMap((name) => [moduleOf(name), prefix + moduleOf(name)]));
  const isHead = (name: string): boolean => heads?.test(name) === true || heads?.test(prefix + name) === true;

  const left = new Set([...byName.keys()].filter((name) => !ignored.test(name) && !Object.hasOwn(tied, name)));
  const names = new Map<TensorTarget, string>();
  const initialised: TensorTarget[] = [];
  const missing: string[] = [];
  const misshaped: string[] = [];
  for (const target of targets) {
    const bare = target.name.startsWith(prefix) ? target.name.slice(prefix.length) : target.name;
    const found = byName.has(target.name) ? target.name : bare;
    const entry = byName.get(found);
    if (entry === undefined) {
      // Half a layer is damage, a whole one is a new head.
      if (mayInitialise && isHead(target.name) && !modules.has(moduleOf(target.name))) initialised.push(target);
      else missing.push(`${target.name} [${target.shape.join(", ")}]`);
      continue;
    }
    left.delete(found);
    if (entry.shape.length !== target.shape.length || entry.shape.some((size, i) => size !== target.shape[i])) {
      misshaped.push(`${target.name} is [${entry.shape.join(", ")}], the config says [${target.shape.join(", ")}]`);
    }
    names.set(target, entry.name);
  }
  const unused = mayInitialise ? [...left].filter(isHead) : [];
  const unexpected = [...left].filter((name) => !unused.includes(name));
  assertMatched(source.path, missing, unexpected, misshaped);
  return { names, initialised, unused };
}

/** "cls.predictions.transform.dense.bias" is of "cls.predictions.transform.dense". */
function moduleOf(name: string): string {
  return name.slice(0, name.lastIndexOf("."));
}

function assertMatched(path: string, missing: string[], unexpected: string[], misshaped: string[]): void {
  const problems = [
    describeList("missing", missing),
    describeList("unexpected", unexpected),
    describeList("of another shape", misshaped),
  ].filter((problem) => problem !== "");
  if (problems.length === 0) return;
  throw new RingtuneError(
    "checkpoint_invalid",
    `${path} does not hold the model that its config describes: ${problems.join("; ")}`,
    {
      details: {
        file: path,
        missing: missing.length,
        unexpected: unexpected.length,
        misshaped: misshaped.length,
      },
    },
  );
}

/** A model without a head of its own may store the tied one again, but it must be the embedding. */
async function assertTied(
  source: TensorSource,
  names: ReadonlyMap<TensorTarget, string>,
  head: string,
  original: string,
): Promise<void> {
  const embedding = [...names.keys()].find(({ name }) => name === original);
  const stored = source.tensors.get(head);
  if (stored === undefined || embedding === undefined) return;
  const same =
    stored.shape.length === embedding.shape.length && stored.shape.every((size, i) => size === embedding.shape[i]);
  const own = new Float32Array(same ? embedding.into.length : 0);
  if (same) await source.read(head, own);
  const different = same ? own.findIndex((value, i) => value !== embedding.into[i]) : 0;
  if (different === -1) return;
  throw new RingtuneError(
    "checkpoint_invalid",
    `${source.path} has a ${head} that is not ${embedding.name} (first difference at element ${different}); ` +
      `set tie_word_embeddings to false in its config.json if the head is a matrix of its own`,
    { details: { file: source.path, tensor: head, element: different } },
  );
}

/** "2 missing (a, b)", or nothing. */
export function describeList(what: string, items: readonly string[]): string {
  if (items.length === 0) return "";
  const shown = items.slice(0, listedAtMost).join(", ");
  const more = items.length > listedAtMost ? ` and ${items.length - listedAtMost} more` : "";
  return `${items.length} ${what} (${shown}${more})`;
}
