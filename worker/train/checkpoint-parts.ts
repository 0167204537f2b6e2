// What a checkpoint consists of, divided among the workers that write it: whole tensors, as even in bytes as they allow, the
// largest first, each to the part that has least. Every worker works out the same division from the same layout.
//
//     parts 2       part 0: model-00001-of-00002, optimizer-00001-of-00002, config.json, tokenizer.json, the index
//                   part 1: model-00002-of-00002, optimizer-00002-of-00002
//     parts 1       model.safetensors, optimizer.safetensors, config.json, tokenizer.json
//
// The files of a model are those of a sharded model of transformers. Adapters stay in one file, because PEFT reads one.

import { adapterConfigFile, adapterConfigJson, adapterFile } from "../model/adapter-files.ts";
import { modelConfigJson, specialTokensOf } from "../model/huggingface.ts";
import { peftPrefix } from "../model/lora.ts";
import { viewOf, type ParameterLayout } from "../model/parameters.ts";
import type { NamedTensor } from "../model/safetensors.ts";
import { groupBySize, indexFile, nameShards, type Shard } from "../model/shards.ts";
import type { OptimizerState } from "./optimizer.ts";
import { optimizerFile } from "./optimizer-file.ts";
import { viewsOf, type TrainedWeights } from "./trained-weights.ts";

export interface CheckpointTexts {
  /** Where the model is that adapters belong to; not used without adapters. */
  readonly basePath?: string;
  readonly tokenizerJson: string;
  /** Empty when the tokenizer has none. */
  readonly tokenizerConfigJson: string;
}

export interface Division {
  /** The tensors of each part, views of the live buffers, by file. */
  readonly parts: readonly (readonly Shard[])[];
  /** Which file has which weight, when there are several. */
  readonly index: string | undefined;
  readonly optimizerFiles: number;
  /** Of all tensors. */
  readonly sizeBytes: number;
}

/** `shardBytes`: weights beyond this are cut within a part too; 5 GB when left out. */
export function divideCheckpoint(
  weights: TrainedWeights,
  buffers: OptimizerState["buffers"],
  parts: number,
  shardBytes?: number,
): Division {
  const model = weights.lora === undefined ? viewsOf(weights, weights.base.layout) : [];
  const adapters = weights.lora === undefined ? [] : adapterTensors(weights);
  const state = optimizerTensors(weights.trainable, buffers);
  const part = assign([...model, ...state], parts, bytesOf(adapters));
  const mine = (tensors: readonly NamedTensor[], index: number): NamedTensor[] =>
    tensors.filter((tensor) => part.get(tensor) === index);
  const range = Array.from({ length: parts }, (_, index) => index);

  const groups = range.flatMap((index) =>
    groupBySize(mine(model, index), shardBytes).map((tensors) => ({ index, tensors })),
  );
  const { shards, index } = nameShards(groups.map(({ tensors }) => tensors));
  const states = range.map((each) => ({ index: each, tensors: mine(state, each) }));
  const filled = parts === 1 ? states : states.filter(({ tensors }) => tensors.length > 0);
  // Of an optimizer without state too: every checkpoint has the file.
  const written = filled.length === 0 ? states.slice(0, 1) : filled;
  return {
    parts: range.map((each) => [
      ...(each === 0 && weights.lora !== undefined ? [{ file: adapterFile, tensors: adapters }] : []),
      ...(weights.lora === undefined ? shards.filter((_, i) => groups[i]?.index === each) : []),
      ...written.flatMap(({ index: owner, tensors }, i) =>
        owner === each ? [{ file: optimizerFile(i, written.length), tensors }] : [],
      ),
    ]),
    index,
    optimizerFiles: written.length,
    sizeBytes: bytesOf(adapters) + bytesOf(model) + bytesOf(state),
  };
}

/** The small files, which the first part has. */
export function checkpointTexts(
  { base, lora, onHub }: TrainedWeights,
  { basePath = "", tokenizerJson, tokenizerConfigJson }: CheckpointTexts,
  index: string | undefined,
): [name: string, text: string][] {
  const tokens = specialTokensOf(tokenizerJson, tokenizerConfigJson);
  return [
    ["config.json", modelConfigJson(base, tokens)],
    ["tokenizer.json", tokenizerJson],
    ...(tokenizerConfigJson === "" ? [] : [["tokenizer_config.json", tokenizerConfigJson] as [string, string]]),
    ...(lora === undefined ? [] : [[adapterConfigFile, adapterConfigJson(lora, basePath, onHub)] as [string, string]]),
    ...(index === undefined ? [] : [[indexFile, index] as [string, string]]),
  ];
}

/** What is trained, under PEFT's names: adapters have them already, whole tensors get the prefix. */
export function adapterTensors(weights: TrainedWeights): NamedTensor[] {
  return viewsOf(weights, weights.trainable).map((tensor) => ({
    ...tensor,
    name: tensor.name.startsWith(peftPrefix) ? tensor.name : peftPrefix + tensor.name,
  }));
}

/** Every state buffer cut up by parameter: "exp_avg.transformer.wte.weight". */
export function optimizerTensors(layout: ParameterLayout, buffers: OptimizerState["buffers"]): NamedTensor[] {
  return Object.entries(buffers).flatMap(([slot, buffer]) =>
    layout.specs.map((spec) => ({ name: `${slot}.${spec.name}`, shape: spec.shape, data: viewOf(buffer, spec) })),
  );
}

/** The part of each tensor. The first part has `loadBytes` already. */
function assign(tensors: readonly NamedTensor[], parts: number, loadBytes: number): Map<NamedTensor, number> {
  const loads = Array.from({ length: parts }, (_, index) => (index === 0 ? loadBytes : 0));
  const part = new Map<NamedTensor, number>();
  for (const tensor of tensors.toSorted((a, b) => b.data.length - a.data.length)) {
    const least = loads.indexOf(Math.min(...loads));
    part.set(tensor, least);
    loads[least]! += tensor.data.byteLength;
  }
  return part;
}

function bytesOf(tensors: readonly NamedTensor[]): number {
  return tensors.reduce((sum, { data }) => sum + data.byteLength, 0);
}
