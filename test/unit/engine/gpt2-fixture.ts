// The gpt2 golden checkpoint with its float64 reference numbers, and the shift of its labels.

import { readFileSync } from "node:fs";
import type { Microbatch } from "../../../worker/engine/engine.ts";
import { createGpt2 } from "../../../worker/model/gpt2.ts";
import { parseGpt2Config } from "../../../worker/model/gpt2-config.ts";
import { viewOf } from "../../../worker/model/parameters.ts";

const folder = new URL("../../golden/gpt2/", import.meta.url);

interface Expected {
  readonly input_ids: number[][];
  readonly labels: number[][];
  readonly loss: number;
  readonly loss_count: number;
  readonly logits_row0: number[][];
  readonly last_position: number[];
  readonly logits_last_position: number[][];
  readonly grad_norms: Record<string, number>;
  readonly grad_norm: number;
}

const readJson = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), "utf8")) as unknown;

export const expected = readJson("expected.json") as Expected;
export const config = parseGpt2Config(readJson("config.json"), "test/golden/gpt2/config.json");
export const model = createGpt2(config);
export const { layout } = model;

/** The checkpoint's weights, flat. */
export function readParameters(): Float32Array {
  const file = readFileSync(new URL("model.safetensors", folder));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerLength)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const parameters = new Float32Array(layout.size);
  for (const spec of layout.specs) {
    const [start, end] = header[spec.name]!.data_offsets;
    const bytes = file.subarray(8 + headerLength + start, 8 + headerLength + end);
    viewOf(parameters, spec).set(new Float32Array(Uint8Array.from(bytes).buffer));
  }
  return parameters;
}

/** All rows of the fixture; the target at a position is the label of the next one. */
export function fixtureBatch(): Microbatch {
  const { input_ids: ids, labels } = expected;
  const length = ids[0]!.length;
  return {
    rows: ids.length,
    length,
    inputIds: Int32Array.from(ids.flat()),
    targets: Int32Array.from(labels.flatMap((row) => [...row.slice(1), -100])),
  };
}

/** Some rows of a batch. */
export function rowsOf({ length, inputIds, targets }: Microbatch, from: number, to: number): Microbatch {
  return {
    rows: to - from,
    length,
    inputIds: inputIds.slice(from * length, to * length),
    targets: targets.slice(from * length, to * length),
  };
}
