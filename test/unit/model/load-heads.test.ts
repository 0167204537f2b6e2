// Directories that differ from the model: another head, old names, no prefix, shards that lie.

import { readFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createModel } from "../../../worker/model/architectures.ts";
import { readModelDirectory, readModelWeights, writeModelDirectory } from "../../../worker/model/huggingface.ts";
import { initialiseParameters } from "../../../worker/model/initialise.ts";
import { targetsOf } from "../../../worker/model/load-parameters.ts";
import type { Model } from "../../../worker/model/model.ts";
import { viewOf } from "../../../worker/model/parameters.ts";
import { writeSafetensors } from "../../../worker/model/safetensors.ts";

const sizes = {
  ...{ model_type: "bert", vocab_size: 20, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, max_position_embeddings: 16 },
};
const masked = createModel({ ...sizes, architectures: ["BertForMaskedLM"] }, "test");
const sequences = createModel({ ...sizes, architectures: ["BertForSequenceClassification"] }, "test");

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ringtune-heads-"));
});
afterEach(async () => rm(directory, { recursive: true }));

function drawn(model: Model, seed: number): Float32Array {
  const parameters = new Float32Array(model.layout.size);
  initialiseParameters(model, model.layout, parameters, seed);
  return parameters;
}

async function load(
  model: Model,
  seed?: number,
): Promise<{ tensor: (name: string) => Float32Array; notices: string[] }> {
  const into = new Float32Array(model.layout.size).fill(NaN);
  const options = seed === undefined ? {} : { seed };
  const notices = await readModelWeights(directory, model, targetsOf(model.layout, into), options);
  return {
    notices,
    tensor: (name) =>
      viewOf(
        into,
        model.layout.specs.find((spec) => spec.name === name)!,
      ),
  };
}

describe("a pre-trained encoder under a new head", () => {
  test("keeps its body, starts the head from the seed and says so", async () => {
    await writeModelDirectory(directory, { model: masked, parameters: drawn(masked, 1) });
    const { tensor, notices } = await load(sequences, 7);
    const [body, fresh] = [drawn(masked, 1), drawn(sequences, 7)];
    const of = (model: Model, flat: Float32Array, name: string) =>
      viewOf(
        flat,
        model.layout.specs.find((spec) => spec.name === name)!,
      );
    const query = "bert.encoder.layer.0.attention.self.query.weight";
    expect(tensor(query)).toEqual(of(masked, body, query));
    expect(tensor("classifier.weight")).toEqual(of(sequences, fresh, "classifier.weight"));
    expect(notices.join("\n")).toContain("4 tensors of a new head (bert.pooler.dense.weight");
    expect(notices.join("\n")).toContain("5 tensors of another head (cls.predictions");
  });

  test("is refused without a seed, with everything that is missing and unexpected", async () => {
    await writeModelDirectory(directory, { model: masked, parameters: drawn(masked, 1) });
    await expect(load(sequences)).rejects.toThrow(/4 missing \(bert.pooler.*5 unexpected \(cls.predictions/);
  });

  test("is refused when a layer of the head is there by half, or the body lacks a tensor", async () => {
    const named = (left: RegExp) =>
      sequences.layout.specs
        .filter(({ name }) => !left.test(name))
        .map((spec) => ({ name: spec.name, shape: spec.shape, data: viewOf(drawn(sequences, 1), spec) }));
    await writeSafetensors(join(directory, "model.safetensors"), named(/^classifier.bias$/));
    await expect(load(sequences, 7)).rejects.toThrow("1 missing (classifier.bias [2])");
    await writeSafetensors(join(directory, "model.safetensors"), named(/word_embeddings/));
    await expect(load(sequences, 7)).rejects.toThrow("1 missing (bert.embeddings.word_embeddings.weight [20, 8])");
  });
});

test("reads a bare encoder in TensorFlow's old names", async () => {
  const parameters = drawn(sequences, 3);
  const tensors = sequences.layout.specs.map((spec) => ({
    name: spec.name
      .replace(/^bert\./, "")
      .replace("LayerNorm.weight", "LayerNorm.gamma")
      .replace("LayerNorm.bias", "LayerNorm.beta"),
    shape: spec.shape,
    data: viewOf(parameters, spec),
  }));
  const buffer = { name: "embeddings.position_ids", shape: [1], data: new Float32Array(1) };
  await writeSafetensors(join(directory, "model.safetensors"), [...tensors, buffer]);
  const { tensor, notices } = await load(sequences);
  for (const spec of sequences.layout.specs) expect(tensor(spec.name), spec.name).toEqual(viewOf(parameters, spec));
  expect(notices).toEqual([]);
});

describe("shards", () => {
  const parameters = drawn(sequences, 5);
  const index = (): string => join(directory, "model.safetensors.index.json");
  const shardNames = async (): Promise<string[]> => {
    const json = JSON.parse(await readFile(index(), "utf8")) as { weight_map: Record<string, string> };
    return [...new Set(Object.values(json.weight_map))].sort();
  };
  beforeEach(() => writeModelDirectory(directory, { model: sequences, parameters }, { shardBytes: 800 }));

  test("hold the model, each of at most the size asked for unless one tensor is larger", async () => {
    const names = await shardNames();
    expect(names.length).toBeGreaterThan(3);
    expect(names[0]).toMatch(/^model-00001-of-0000\d\.safetensors$/);
    expect((await readModelDirectory(directory)).parameters).toEqual(parameters);
    const json = JSON.parse(await readFile(index(), "utf8")) as { metadata: { total_size: number } };
    expect(json.metadata.total_size).toBe(parameters.byteLength);
  });

  test("that are missing are named, all of them", async () => {
    const names = await shardNames();
    await rm(join(directory, names[0]!));
    await rm(join(directory, names[2]!));
    await expect(load(sequences)).rejects.toThrow(`names 2 shards that are missing: ${names[0]}, ${names[2]}`);
  });

  test("that do not hold what the index says are named", async () => {
    const json = JSON.parse(await readFile(index(), "utf8")) as { weight_map: Record<string, string> };
    const [first, second] = await shardNames();
    const moved = Object.entries(json.weight_map).find(([, shard]) => shard === first)![0];
    json.weight_map[moved] = second!;
    await writeFile(index(), JSON.stringify(json));
    await expect(load(sequences)).rejects.toThrow(`names 1 tensors that are not there: ${moved} in ${second}`);
    await writeFile(index(), JSON.stringify({ weights: {} }));
    await expect(load(sequences)).rejects.toThrow("has no weight_map");
  });

  test("of which two hold the same tensor are refused", async () => {
    const json = JSON.parse(await readFile(index(), "utf8")) as { weight_map: Record<string, string> };
    const names = Object.keys(json.weight_map);
    const several = (await shardNames()).find((shard) => names.filter((n) => json.weight_map[n] === shard).length > 1)!;
    const [one, ...rest] = names.filter((name) => json.weight_map[name] === several);
    await writeFile(join(directory, "copy.safetensors"), await readFile(join(directory, several)));
    json.weight_map[one!] = "copy.safetensors";
    await writeFile(index(), JSON.stringify(json));
    expect(rest.length).toBeGreaterThan(0);
    await expect(load(sequences)).rejects.toThrow(/holds .*, and so does/);
  });
});

test("a directory with PyTorch's own files only says what to do", async () => {
  await writeFile(join(directory, "pytorch_model.bin"), "");
  await expect(load(sequences)).rejects.toThrow("pytorch_model.bin can't be read; convert it to safetensors first");
});
