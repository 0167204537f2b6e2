// Training in float16 as real processes, beside float32.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, readValidations, smallRun, start, type SmallRun } from "../support/cli.ts";
import { sentenceOf } from "../support/refusal.ts";

async function train({ folder, config }: SmallRun, name: string, ...args: string[]): Promise<string> {
  const result = await finish(["train", config, "--set", `checkpoint.name=${name}`, ...args]);
  expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
  return join(folder, "runs", name);
}

const losses = async (run: string): Promise<number[]> => (await readSteps(run)).map(({ loss }) => loss);
const worst = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value / b[i]! - 1)));

test("20 steps in float16 have the losses of float32 within 1e-3, and those of two workers within 1e-4; a killed run goes on bit for bit", async () => {
  const small = await smallRun({ precision: "fp16" });
  const full = await losses(await train(small, "full", "--set", "train.precision=fp32"));
  const one = await losses(await train(small, "one"));
  const two = await train(small, "two", "--workers", "2");
  expect(full.length).toBe(20);
  expect(one).not.toEqual(full);
  expect(worst(one, full)).toBeLessThan(1e-3);
  expect(worst(await losses(two), one)).toBeLessThan(1e-4);
  const state = JSON.parse(await readFile(join(two, "latest/state.json"), "utf8")) as object;
  expect(state).toMatchObject({ optimizer: { step: 20 }, lossScale: { scale: 65536, goodSteps: 20 } });

  const killed = start(["train", small.config, "--workers", "2", "--set", "checkpoint.name=killed"], {
    pauseAt: /saved step 10/,
  });
  await killed.paused();
  killed.child.kill("SIGKILL");
  await killed.finished;
  const run = join(small.folder, "runs/killed");
  const resumed = await finish(["train", "--workers", "2", "--resume", run]);
  expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
  expect(await losses(run)).toEqual(await losses(two));
  expect((await readValidations(run)).map(({ loss }) => loss)).toEqual(
    (await readValidations(two)).map(({ loss }) => loss),
  );
  for (const file of await readdir(join(two, "latest"))) {
    const [a, b] = await Promise.all([run, two].map((folder) => readFile(join(folder, "latest", file))));
    expect(a!.equals(b!), file).toBe(true);
  }
});

test("bfloat16 is refused before a run begins, with what has it", async () => {
  const small = await smallRun();
  const settings = ["--set", "train.precision=bf16", "--set", "cluster.device=cpu"];
  const result = await finish(["train", small.config, ...settings]);
  expect(sentenceOf(result, 2)).toContain(
    "train.precision: bf16 can't be computed by device cpu: cuda and tensorrt have",
  );
});
