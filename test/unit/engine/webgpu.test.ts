// What is special about WebGPU: everything runs on the device, and what is unchanged is not copied there again.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Engine, Microbatch } from "../../../worker/engine/engine.ts";
import { createOnnxEngine } from "../../../worker/engine/onnx/engine.ts";
import { loadRuntime } from "../../../worker/engine/onnx/runtime.ts";
import { splitLayout, viewOf } from "../../../worker/model/parameters.ts";
import { hasWebgpu, withoutWebgpu } from "../../support/engines.ts";
import { goldenNames, readGolden, type GoldenName } from "./golden.ts";

const selection = { provider: { name: "webgpu", index: 0 }, description: "webgpu", why: [] } as const;

test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

/** The golden model, with the weights of the first block frozen. */
async function openEngine(
  name: GoldenName,
  profilePrefix?: string,
): Promise<{ engine: Engine; batch: Microbatch; trained: Float32Array; held: Float32Array }> {
  const { model, parameters, batch } = readGolden(name);
  const all = parameters();
  const { trainable, frozen } = splitLayout(model.layout, (parameter) => !parameter.includes(".0."));
  const [trained, held] = [trainable, frozen].map((part) => {
    const flat = new Float32Array(part.size);
    for (const spec of part.specs) {
      viewOf(flat, spec).set(
        viewOf(
          all,
          model.layout.specs.find((other) => other.name === spec.name)!,
        ),
      );
    }
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
  return { engine, batch, trained, held };
}

describe.skipIf(!hasWebgpu)("on WebGPU", () => {
  test.each(goldenNames)("no operator of a step of %s falls back to the CPU", async (name) => {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-webgpu-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const { engine, batch, trained } = await openEngine(name, join(folder, "profile"));
    await engine.gradients(batch, { weight: 1, accumulate: true, gradients: new Float32Array(trained.length) });
    await engine.close();
    const files = await readdir(folder);
    const events = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
    const nodes = events
      .flatMap((text) => JSON.parse(text) as { cat: string; args?: { op_name?: string; provider?: string } }[])
      .flatMap(({ cat, args }) => (cat === "Node" && args?.provider !== undefined ? [args] : []));
    expect(nodes.length).toBeGreaterThan(100);
    expect(nodes.filter(({ provider }) => provider !== "WebGpuExecutionProvider")).toEqual([]);
  });

  test("weights are copied to the device again unless they are said to be unchanged", async () => {
    const { engine, batch, trained, held } = await openEngine("gpt2");
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
