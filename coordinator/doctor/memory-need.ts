// How much memory a worker is going to need, before one is started: weights, gradients and optimizer state are counted, activations
// are reckoned from the shape of the model. The formula, and how far it is from what was measured, is docs/models.md; the dry run
// measures. Knows no machine.

import type { Config } from "../../common/config/schema.ts";
import { headOf } from "../../common/task.ts";

/** Bytes, of one worker. */
export interface MemoryNeed {
  readonly weights: number;
  readonly gradients: number;
  /** In the memory of the host, also where a GPU computes. */
  readonly optimizer: number;
  /** Of one microbatch, with the logits and what the backward pass needs besides. */
  readonly activations: number;
  /** The copy of weights and optimizer state from which a checkpoint is written, of a worker that writes it alone. */
  readonly copies: number;
  /** In the memory of the host, what its workers have once for all of them: see docs/zero.md. */
  readonly once: number;
}

/** Node.js, ONNX Runtime and what the process has before its first step. */
export const PROCESS_BYTES = 190e6;

/** What a computing device holds of it; a worker that computes on processors has everything in one place. */
export const onDevice = ({ weights, gradients, activations }: MemoryNeed): number => weights + gradients + activations;
export const onHost = (need: MemoryNeed): number => onDevice(need) + need.optimizer + need.copies + PROCESS_BYTES;

interface Shape {
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly heads: number;
  /** Of keys and of values. */
  readonly keyWidth: number;
  readonly vocabulary: number;
  readonly parameters: number;
  /** Of all linear layers of a block: inputs plus outputs, which is what an adapter of rank 1 has numbers. */
  readonly linearEnds: number;
  /** Numbers that a block keeps for the backward pass, for each token; without the attention's probabilities. */
  readonly kept: number;
}

const FLOAT = 4;
/** The logits, what the softmax makes of them, and their gradient. */
const LOGITS = 3;
/** Gradients of activations, and what ONNX Runtime holds back: as measured. */
const BACKWARD = 1.5;

/** Buffers of the optimizer, as large as the gradients: docs/models.md. */
const buffers = { adamw: 2, adam: 2, rmsprop: 1, sgd: 0 } as const;

/**
 * Reckons from config.json of the model (Hugging Face's) and the configuration of the run. With adapters or frozen weights it is what
 * is needed at most: an adapter counts as if it were on every linear layer, and `train.freeze` is not looked at.
 */
export function memoryNeed(model: Readonly<Record<string, unknown>>, config: Config): MemoryNeed {
  const { train, lora, task } = config;
  const shape = shapeOf(model);
  const tokens = train.microbatch * train.sequence_length;
  const adapter = lora === undefined ? 0 : lora.rank * shape.linearEnds * shape.layers;
  const trained = lora === undefined ? shape.parameters : adapter;
  const block = tokens * (shape.kept + shape.heads * train.sequence_length);
  const blocks = train.recompute === "blocks" ? shape.layers * tokens * shape.width + block : shape.layers * block;
  const hasLogits = headOf(task.kind) === "causal-lm" || headOf(task.kind) === "masked-lm";
  const logits = hasLogits ? LOGITS * tokens * shape.vocabulary : 0;
  const { optimizer } = train;
  const momentum = "momentum" in optimizer && optimizer.momentum > 0 ? 1 : 0;
  const state = FLOAT * trained * (buffers[optimizer.name] + momentum);
  return {
    weights: FLOAT * (shape.parameters + adapter),
    gradients: FLOAT * trained,
    optimizer: state,
    activations: BACKWARD * FLOAT * (blocks + logits),
    copies: FLOAT * trained + state,
    once: train.zero === 1 ? FLOAT * trained + state : 0,
  };
}

function shapeOf(model: Readonly<Record<string, unknown>>): Shape {
  const number = (name: string, or = 0): number => Number(model[name] ?? or);
  const isGpt2 = model["model_type"] === "gpt2";
  const isBert = model["model_type"] === "bert";
  const width = isGpt2 ? number("n_embd") : number("hidden_size");
  const layers = isGpt2 ? number("n_layer") : number("num_hidden_layers");
  const heads = isGpt2 ? number("n_head") : number("num_attention_heads");
  const inner = isGpt2 ? number("n_inner", 4 * width) : number("intermediate_size");
  const vocabulary = number("vocab_size");
  const keyWidth = (width / heads) * number("num_key_value_heads", heads);
  const hasPositions = isGpt2 || isBert;
  const positions = hasPositions
    ? number(isGpt2 ? "n_positions" : "max_position_embeddings") + number("type_vocab_size")
    : 0;
  const embeddings = (vocabulary * (hasPositions || model["tie_word_embeddings"] === true ? 1 : 2) + positions) * width;
  const attention = 2 * width * width + 2 * width * keyWidth;
  const feedForward = (hasPositions ? 2 : 3) * width * inner;
  const rest = hasPositions ? 9 * width + inner : 2 * width; // biases and norms
  return {
    ...{ layers, width, inner, heads, keyWidth, vocabulary },
    parameters: embeddings + layers * (attention + feedForward + rest) + 2 * width,
    linearEnds: 4 * width + 2 * (width + keyWidth) + (hasPositions ? 2 : 3) * (width + inner),
    // Norm, query, key, value, context, residual, norm, residual; in and out of the activation function. A LLaMA turns
    // query and key, and has a gate.
    kept: hasPositions ? 8 * width + 2 * inner : 7 * width + 3 * keyWidth + 4 * inner,
  };
}
