// What is special about WebGPU: everything runs on the device, and what is unchanged is not copied there again.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Engine } from "../../../worker/engine/engine.ts";
import { createOnnxEngine } from "../../../worker/engine/onnx/engine.ts";
import { loadRuntime } from "../../../worker/engine/onnx/runtime.ts";
import { splitLayout, viewOf } from "../../../worker/model/parameters.ts";
import { hasWebgpu, withoutWebgpu } from "../../support/engines.ts";
import { fixtureBatch, layout, model, readParameters } from "./gpt2-fixture.ts";

const selection = { provider: { name: "webgpu", index: 0 }, description: "webgpu", why: [] } as const;

test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

/** Weights of the golden model, those of the first block frozen. */
async function openEngine(
  profilePrefix?: string,
): Promise<{ engine: Engine; trained: Float32Array; held: Float32Array }> {
  const all = readParameters();
  const { trainable, frozen } = splitLayout(layout, (name) => !name.includes(".h.0."));
  const [trained, held] = [trainable, frozen].map((part) => {
    const flat = new Float32Array(part.size);
    for (const spec of part.specs)
      viewOf(flat, spec).set(
        viewOf(
          all,
          layout.specs.find(({ name }) => name === spec.name)!,
        ),
      );
    return flat;
  }) as [Float32Array, Float32Array];
  const engine = createOnnxEngine(await loadRuntime(), {
    model,
    trainable,
    parameters: trained,
    frozen: { layout: frozen, parameters: held },
    threads: 1,
    selection,
    ...(profilePrefix === undefined ? {} : { profilePrefix }),
  });
  return { engine, trained, held };
}

describe.skipIf(!hasWebgpu)("on WebGPU", () => {
  test("no operator of a step falls back to the CPU", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-webgpu-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const { engine, trained } = await openEngine(join(folder, "profile"));
    const gradients = new Float32Array(trained.length);
    await engine.gradients(fixtureBatch(), { weight: 1, accumulate: false, gradients });
    await engine.gradients(fixtureBatch(), { weight: 1, accumulate: true, gradients });
    await engine.close();
    const files = await readdir(folder);
    const events = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
    const nodes = events
      .flatMap((text) => JSON.parse(text) as { cat: string; args?: { op_name?: string; provider?: string } }[])
      .flatMap(({ cat, args }) => (cat === "Node" && args?.provider !== undefined ? [args] : []));
    expect(nodes.length).toBeGreaterThan(200);
    expect(nodes.filter(({ provider }) => provider !== "WebGpuExecutionProvider")).toEqual([]);
  });

  test("weights are copied to the device again unless they are said to be unchanged", async () => {
    const { engine, trained, held } = await openEngine();
    const batch = fixtureBatch();
    const { lossSum: first } = await engine.loss(batch);
    for (let i = 0; i < held.length; i++) held[i]! *= 0.5;
    expect((await engine.loss(batch, { unchanged: "frozen" })).lossSum).toBe(first);
    for (let i = 0; i < trained.length; i++) trained[i]! *= 0.5;
    expect((await engine.loss(batch, { unchanged: "all" })).lossSum).toBe(first);
    const { lossSum: second } = await engine.loss(batch, { unchanged: "frozen" });
    expect(second).not.toBeCloseTo(first, 2);
    expect((await engine.loss(batch)).lossSum).not.toBe(second);
    await engine.close();
  });
});
