// Gradients that are reduced in a thread while ONNX Runtime computes others, as real processes.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, smallRun } from "../support/cli.ts";

test("two workers end with the same bits whether gradients are reduced meanwhile or afterwards", async () => {
  const small = await smallRun({ steps: 4, warmup_steps: 1, eval_every: 0, global_batch: 8, microbatch: 2 });
  const train = async (name: string, ...args: string[]) => {
    const settings = ["--set", `checkpoint.name=${name}`, "--workers", "2", ...args];
    const result = await finish(["train", small.config, ...settings]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const run = join(small.folder, "runs", name);
    const weights = await readFile(join(run, "latest", "model.safetensors"));
    const losses = (await readSteps(run)).map(({ loss }) => loss);
    return { ...result, run, weights, losses };
  };
  const one = ["--set", "checkpoint.writers=one"];
  const after = await train("after", ...one);
  expect(after.stdout).not.toContain("buckets");
  const meanwhile = await train("meanwhile", ...one, "--set", "train.overlap=on", "--set", "train.bucket_mb=0.02");
  expect(meanwhile.stdout).toMatch(/gradients: .*2 ranks.*, in \d+ buckets while the backward pass goes on/);
  expect(meanwhile.losses).toEqual(after.losses);
  expect(meanwhile.weights.equals(after.weights)).toBe(true);
});
