// Compressed gradients and local steps as real processes, two workers on one host.

import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, readValidations, smallRun, start } from "../support/cli.ts";

test("two workers learn with compressed gradients, and with rounds of local steps that a killed run goes on with", async () => {
  const { folder, config } = await smallRun({ compression: { method: "int8" } });
  const run = async (name: string, ...settings: string[]): Promise<string> => {
    const sets = [`checkpoint.name=${name}`, "cluster.workers=2", ...settings].flatMap((set) => ["--set", set]);
    const result = await finish(["train", config, ...sets]);
    expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
    return join(folder, "runs", name);
  };
  const lastLoss = async (path: string): Promise<number> => (await readValidations(path)).at(-1)!.loss;
  const bytes = async (path: string): Promise<number> =>
    (await readSteps(path)).reduce((sum, { allReduceBytes }) => sum + allReduceBytes, 0);
  const plain = await run("plain", "train.compression.method=none");
  const int8 = await run("int8");
  expect(Math.abs((await lastLoss(int8)) / (await lastLoss(plain)) - 1)).toBeLessThan(0.01);
  expect(await bytes(int8)).toBeLessThan(0.26 * (await bytes(plain)));

  // Rounds of 6 steps and a last one of 2; validations after 10 and 20 steps come when their rounds end.
  const rounds = ["train.local_steps=6", "train.outer.learning_rate=1", "train.outer.momentum=0"];
  const local = await run("local", ...rounds);
  const steps = await readSteps(local);
  expect(steps.map(({ step, steps, samples }) => [step, steps, samples])).toEqual([
    ...[6, 12, 18].map((step) => [step, 6, 72]),
    [20, 2, 24],
  ]);
  expect((await readValidations(local)).map(({ step }) => step)).toEqual([0, 12, 20]);
  expect(await bytes(local)).toBeLessThan(0.21 * (await bytes(int8)));
  expect(await lastLoss(local)).toBeLessThan((await readValidations(local))[0]!.loss - 1);

  const sets = ["checkpoint.name=killed", ...rounds].flatMap((set) => ["--set", set]);
  const killed = start(["train", config, "--workers", "2", ...sets], { pauseAt: /saved step 12/ });
  await killed.paused();
  killed.child.kill("SIGKILL");
  await killed.finished;
  const path = join(folder, "runs/killed");
  const resumed = await finish(["train", "--workers", "2", "--resume", path]);
  expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
  const again = await readSteps(path);
  expect(again.map(({ step }) => step)).toEqual([6, 12, 18, 20]);
  expect(again.map(({ ledger }) => [ledger?.committed, ledger?.lost, ledger?.duplicated]).at(-1)).toEqual([240, 0, 0]);
});
