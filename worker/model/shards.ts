// A model's tensors over one safetensors file or several with an index, in Hugging Face's names:
//
//     model.safetensors
//     model-00001-of-00002.safetensors, model-00002-of-00002.safetensors, model.safetensors.index.json
//
// Reading makes one file of them, checked against the index; writing cuts between tensors.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { assert, RingtuneError } from "../../common/errors.ts";
import { readJson } from "./read-json.ts";
import { openSafetensors, widthOf, type NamedTensor, type SafetensorsFile, type StoredType } from "./safetensors.ts";

export const modelFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";
/** Where transformers cuts too. */
export const defaultShardBytes = 5e9;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** What is read from: one file, or several that look like one. */
export type TensorSource = Pick<SafetensorsFile, "path" | "tensors" | "read" | "close">;

/**
 * Opens model.safetensors of `directory`, or the shards of its index. Throws `checkpoint_invalid` that names every shard
 * that is missing, and every tensor that is not in the shard that the index says.
 */
export async function openModelFiles(directory: string): Promise<TensorSource> {
  const names = new Set(await readdir(directory).catch(() => []));
  if (names.has(modelFile) || !names.has(indexFile)) {
    const other = [...names].find((name) =>
      /^(pytorch_model|tf_model|flax_model).*\.(bin|h5|msgpack|index\.json)$/.test(name),
    );
    if (!names.has(modelFile) && other !== undefined) {
      throw invalid(
        join(directory, modelFile),
        `is missing, and ${other} can't be read; convert it to safetensors first`,
      );
    }
    return openSafetensors(join(directory, modelFile));
  }
  const path = join(directory, indexFile);
  const parsed = indexSchema.safeParse(await readJson(path));
  if (!parsed.success) throw invalid(path, "has no weight_map of tensor names to file names; it is corrupt");
  const weights = Object.entries(parsed.data.weight_map);
  const shards = [...new Set(weights.map(([, shard]) => shard))].sort();
  const absent = shards.filter((shard) => !names.has(shard));
  if (absent.length > 0) {
    const what = absent.length === 1 ? "a shard that is missing" : `${absent.length} shards that are missing`;
    throw invalid(path, `names ${what}: ${absent.join(", ")}`);
  }
  return openTogether(path, directory, shards, weights);
}

/**
 * Opens `shards` of `directory` as one; `path` stands for them in sentences, `weights` is which tensors are to be where.
 * Throws `checkpoint_invalid`.
 */
export async function openTogether(
  path: string,
  directory: string,
  shards: readonly string[],
  weights: readonly (readonly [string, string])[] = [],
): Promise<TensorSource> {
  const files = new Map<string, SafetensorsFile>();
  const close = async (): Promise<void> => {
    for (const file of files.values()) await file.close();
  };
  try {
    for (const shard of shards) files.set(shard, await openSafetensors(join(directory, shard)));
    const wrong = weights.filter(([name, shard]) => !files.get(shard)!.tensors.has(name));
    if (wrong.length > 0) {
      const listed = wrong.slice(0, 10).map(([name, shard]) => `${name} in ${shard}`);
      const more = wrong.length > listed.length ? ` and ${wrong.length - listed.length} more` : "";
      throw invalid(path, `names ${wrong.length} tensors that are not there: ${listed.join(", ")}${more}`);
    }
    const home = new Map<string, SafetensorsFile>();
    for (const [shard, file] of files) {
      for (const name of file.tensors.keys()) {
        const other = home.get(name);
        if (other !== undefined) throw invalid(join(directory, shard), `holds ${name}, and so does ${other.path}`);
        home.set(name, file);
      }
    }
    return {
      path,
      tensors: new Map([...files.values()].flatMap((file) => [...file.tensors])),
      read: async (name, into) => {
        const file = home.get(name);
        assert(file !== undefined, `${path} has no tensor ${name}`);
        await file.read(name, into);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export interface Shard {
  readonly file: string;
  readonly tensors: readonly NamedTensor[];
}

/** The files for `tensors`, in their order, each of at most `shardBytes` of data or of one tensor; one file has no index. */
export function cutShards(
  tensors: readonly NamedTensor[],
  shardBytes = defaultShardBytes,
  type: StoredType = "float32",
): { readonly shards: readonly Shard[]; readonly index: string | undefined } {
  return nameShards(groupBySize(tensors, shardBytes, type), type);
}

/** `tensors` in their order, in groups of at most `shardBytes` of data or of one tensor. */
export function groupBySize(
  tensors: readonly NamedTensor[],
  shardBytes = defaultShardBytes,
  type: StoredType = "float32",
): NamedTensor[][] {
  const groups: NamedTensor[][] = [];
  let size = Infinity;
  for (const tensor of tensors) {
    const bytes = tensor.data.length * widthOf(type);
    if (size + bytes > shardBytes) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)!.push(tensor);
    size += bytes;
  }
  return groups;
}

/** Each group as a file, under the names that from_pretrained looks for. */
export function nameShards(
  groups: readonly (readonly NamedTensor[])[],
  type: StoredType = "float32",
): { readonly shards: readonly Shard[]; readonly index: string | undefined } {
  if (groups.length <= 1) return { shards: [{ file: modelFile, tensors: groups[0] ?? [] }], index: undefined };
  const padded = (number: number): string => String(number).padStart(5, "0");
  const shards = groups.map((tensors, i) => ({
    file: `model-${padded(i + 1)}-of-${padded(groups.length)}.safetensors`,
    tensors,
  }));
  const map = shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file] as const));
  const elements = groups.flat().reduce((sum, { data }) => sum + data.length, 0);
  const index = {
    metadata: { total_size: elements * widthOf(type) },
    weight_map: Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  return { shards, index: `${JSON.stringify(index, undefined, 2)}\n` };
}

function invalid(path: string, predicate: string): RingtuneError {
  return new RingtuneError("checkpoint_invalid", `${path} ${predicate}`, { details: { file: path } });
}
