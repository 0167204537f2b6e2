// The golden checkpoints with their float64 reference numbers, read without the code that is tested with them.

import { readFileSync } from "node:fs";
import type { Microbatch } from "../../../worker/engine/engine.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { targetsPerRow, type Model } from "../../../worker/model/model.ts";
import { viewOf } from "../../../worker/model/parameters.ts";

export const goldenNames = ["gpt2", "llama", "bert-seqcls", "bert-tokcls"] as const;

export type GoldenName = (typeof goldenNames)[number];

interface Expected {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly token_type_ids?: number[][];
  readonly labels: (number[] | number)[];
  readonly loss: number;
  readonly loss_count: number;
  readonly logits?: number[][];
  readonly logits_row0?: number[][];
  readonly last_position?: number[];
  readonly logits_last_position?: number[][];
  readonly grad_norms: Record<string, number>;
  readonly grad_norm: number;
  readonly zero_grad_parameters: string[];
}

export interface Golden {
  readonly model: Model;
  readonly expected: Expected;
  /** All rows; for a causal model the target at a position is the label of the next one. */
  readonly batch: Microbatch;
  /** A fresh copy of the checkpoint's weights, flat. */
  readonly parameters: () => Float32Array;
  /** The header of model.safetensors. */
  readonly header: Readonly<Record<string, { readonly shape: number[]; readonly data_offsets: [number, number] }>>;
}

export function readGolden(name: GoldenName): Golden {
  const folder = new URL(`../../golden/${name}/`, import.meta.url);
  const readJson = (file: string): unknown => JSON.parse(readFileSync(new URL(file, folder), "utf8")) as unknown;
  const model = createModel(readJson("config.json"), `test/golden/${name}/config.json`);
  const expected = readJson("expected.json") as Expected;
  const file = readFileSync(new URL("model.safetensors", folder));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerLength)) as Record<string, never>;
  delete header["__metadata__"];
  return { model, expected, batch: batchOf(model, expected), header, parameters: () => weights(model, header, file) };
}

/** Some rows of a batch. */
export function rowsOf(batch: Microbatch, from: number, to: number): Microbatch {
  const { rows, length, attentionMask, tokenTypeIds } = batch;
  const tokens = (values: Int32Array): Int32Array => values.slice(from * length, to * length);
  const perRow = batch.targets.length / rows;
  return {
    rows: to - from,
    length,
    inputIds: tokens(batch.inputIds),
    targets: batch.targets.slice(from * perRow, to * perRow),
    ...(attentionMask && { attentionMask: tokens(attentionMask) }),
    ...(tokenTypeIds && { tokenTypeIds: tokens(tokenTypeIds) }),
  };
}

function batchOf({ head }: Model, expected: Expected): Microbatch {
  const { input_ids: ids, labels, attention_mask: mask, token_type_ids: types } = expected;
  const length = ids[0]!.length;
  const targets = labels.flatMap((row) =>
    head.kind === "causal-lm" && Array.isArray(row) ? [...row.slice(1), -100] : row,
  );
  if (targets.length !== ids.length * targetsPerRow(head, length)) throw new Error("labels of another shape");
  return {
    rows: ids.length,
    length,
    inputIds: Int32Array.from(ids.flat()),
    targets: Int32Array.from(targets),
    attentionMask: Int32Array.from(mask.flat()),
    ...(types && { tokenTypeIds: Int32Array.from(types.flat()) }),
  };
}

function weights({ layout }: Model, header: Golden["header"], file: Buffer): Float32Array {
  const start = 8 + Number(file.readBigUInt64LE(0));
  const parameters = new Float32Array(layout.size);
  for (const spec of layout.specs) {
    const [begin, end] = header[spec.name]!.data_offsets;
    viewOf(parameters, spec).set(new Float32Array(Uint8Array.from(file.subarray(start + begin, start + end)).buffer));
  }
  return parameters;
}
