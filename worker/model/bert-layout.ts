// The parameters of a BERT with its head, in Hugging Face's names and shapes, and the linear layers among them.

import { bertNames, type BertConfig } from "./bert-config.ts";
import type { Head, LinearModule } from "./model.ts";
import { createLayout, type ParameterLayout } from "./parameters.ts";

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Every parameter that the model computes with: the pooler only under sequence classification. */
export function bertLayout(config: BertConfig, head: Head): ParameterLayout {
  const { vocabulary, width, positions, tokenTypes } = config;
  const names = bertNames[config.modelType];
  const embeddings = `${names.prefix}embeddings`;
  const layers = Array.from({ length: config.layers }, (_, i) => {
    const layer = `${names.prefix}${names.layer}${i}`;
    const [q, k, v, output, inner, outer] = layerLinears(config, i).map(linear);
    return [
      ...[q, k, v, output].flatMap((tensors) => tensors ?? []),
      ...norm(`${layer}.${names.attentionNorm}`, width),
      ...[inner, outer].flatMap((tensors) => tensors ?? []),
      ...norm(`${layer}.${names.outputNorm}`, width),
    ];
  });
  return createLayout([
    { name: `${embeddings}.word_embeddings.weight`, shape: [vocabulary, width] },
    { name: `${embeddings}.position_embeddings.weight`, shape: [positions, width] },
    ...(tokenTypes === 0 ? [] : [{ name: `${embeddings}.token_type_embeddings.weight`, shape: [tokenTypes, width] }]),
    ...norm(`${embeddings}.LayerNorm`, width),
    ...layers.flat(),
    ...headTensors(config, head),
  ]);
}

/** The linear layers of all encoder layers. */
export function bertLinears(config: BertConfig): LinearModule[] {
  return Array.from({ length: config.layers }, (_, i) => layerLinears(config, i)).flat();
}

function layerLinears(config: BertConfig, index: number): LinearModule[] {
  const { width, inner } = config;
  const names = bertNames[config.modelType];
  const layer = `${names.prefix}${names.layer}${index}`;
  return [
    ...[names.query, names.key, names.value, names.attentionOutput].map((name) =>
      module(`${layer}.${name}`, width, width),
    ),
    module(`${layer}.${names.inner}`, width, inner),
    module(`${layer}.${names.outer}`, inner, width),
  ];
}

function headTensors({ modelType, width, vocabulary, tied }: BertConfig, head: Head): Tensor[] {
  const names = bertNames[modelType];
  switch (head.kind) {
    case "sequence-classification":
      return [
        ...linear(module(names.pooler, width, width)),
        ...linear(module(names.sequenceClassifier, width, head.labels)),
      ];
    case "token-classification":
      return linear(module("classifier", width, head.labels));
    case "masked-lm":
    case "causal-lm":
      return [
        ...linear(module(names.transform, width, width)),
        ...norm(names.transformNorm, width),
        ...(tied ? [] : [{ name: names.decoder, shape: [vocabulary, width] }]),
        { name: names.decoderBias, shape: [vocabulary] },
      ];
  }
}

function module(name: string, inputs: number, outputs: number): LinearModule {
  return { name, inputs, outputs, transposed: false };
}

function linear({ name, inputs, outputs }: LinearModule): Tensor[] {
  return [
    { name: `${name}.weight`, shape: [outputs, inputs] },
    { name: `${name}.bias`, shape: [outputs] },
  ];
}

function norm(name: string, width: number): Tensor[] {
  return [
    { name: `${name}.weight`, shape: [width] },
    { name: `${name}.bias`, shape: [width] },
  ];
}
