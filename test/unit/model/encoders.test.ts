// Encoders and heads that have no golden checkpoint, against float64 PyTorch numbers (test/golden/make_encoders.py), on
// the compiled and the eager engine.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createEngine } from "../../../worker/engine/create-engine.ts";
import { createModel } from "../../../worker/model/architectures.ts";
import { viewOf } from "../../../worker/model/parameters.ts";

interface Case {
  readonly config: { readonly model_type: string };
  readonly head: string;
  readonly targets: (number | number[])[];
  readonly loss_sum: number;
  readonly count: number;
  /** The first of them. */
  readonly logits_row0: number[];
  readonly grad_norms: Record<string, number>;
  readonly weights_base64: string;
}

const golden = JSON.parse(readFileSync(new URL("../../golden/encoders.json", import.meta.url), "utf8")) as {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly token_type_ids: number[][];
  readonly cases: Case[];
};

const cases = golden.cases.map((entry) => ({ ...entry, type: entry.config.model_type }));

describe.each(cases)("$type with a $head head", (entry) => {
  const model = createModel(entry.config, "the test");
  const { layout } = model;

  function weights(): Float32Array {
    const bytes = Uint8Array.from(Buffer.from(entry.weights_base64, "base64"));
    const values = new Float32Array(bytes.buffer);
    const parameters = new Float32Array(layout.size);
    let offset = 0;
    for (const name of Object.keys(entry.grad_norms)) {
      const spec = layout.specs.find((other) => other.name === name)!;
      viewOf(parameters, spec).set(values.subarray(offset, offset + spec.size));
      offset += spec.size;
    }
    expect(offset).toBe(values.length);
    return parameters;
  }

  test("has exactly the reference's parameters", () => {
    expect(layout.specs.map(({ name }) => name).sort()).toEqual(Object.keys(entry.grad_norms).sort());
  });

  test.each([
    ["onnx", "cpu"],
    ["tfjs", "wasm"],
  ] as const)("computes the reference's numbers on %s %s", async (kind, device) => {
    const engine = await createEngine({ kind, device, model, parameters: weights(), threads: 1 });
    const batch = {
      rows: 2,
      length: 6,
      inputIds: Int32Array.from(golden.input_ids.flat()),
      targets: Int32Array.from(entry.targets.flat()),
      attentionMask: Int32Array.from(golden.attention_mask.flat()),
      ...(model.tokenTypes > 1 ? { tokenTypeIds: Int32Array.from(golden.token_type_ids.flat()) } : {}),
    };
    const gradients = new Float32Array(layout.size);
    const { lossSum, tokens } = await engine.gradients(batch, { weight: 1, accumulate: false, gradients });
    expect(tokens).toBe(entry.count);
    expect(Math.abs(lossSum / entry.loss_sum - 1)).toBeLessThan(1e-5);
    const logits = await engine.logits(batch);
    for (const [i, value] of entry.logits_row0.entries()) expect(Math.abs(logits[i]! - value)).toBeLessThan(2e-5);
    for (const spec of layout.specs) {
      const norm = Math.hypot(...viewOf(gradients, spec));
      const want = entry.grad_norms[spec.name]!;
      // The softmax does not see what is added to all keys.
      if (want < 1e-10) expect(norm, spec.name).toBeLessThan(1e-5);
      else expect(Math.abs(norm / want - 1), spec.name).toBeLessThan(1e-4);
    }
    await engine.close();
  });
});
