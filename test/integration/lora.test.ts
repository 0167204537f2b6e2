// Adapters on real processes: trained on a model of an earlier run, by any number of workers, resumed, merged, and used.

import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, readValidations, smallRun, start } from "../support/cli.ts";

async function succeed(...args: string[]): Promise<string> {
  const result = await finish(args);
  expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
  return result.stdout;
}

const losses = async (run: string): Promise<number[]> => (await readSteps(run)).map(({ loss }) => loss);
const read = (run: string, name: string): Promise<Buffer> => readFile(join(run, "latest", name));

test("an adapter is trained, resumed bit for bit, the same with more workers, merged and used", async () => {
  const small = await smallRun({ steps: 30, eval_every: 0 });
  const runs = join(small.folder, "runs");
  await succeed("train", small.config, "--set", "checkpoint.name=base", "--workers", "1");
  const base = join(runs, "base");
  const config = join(small.folder, "lora.yaml");
  const given = JSON.parse(await readFile(small.config, "utf8")) as { train: object };
  const shorter = {
    ...given.train,
    steps: 16,
    global_batch: 8,
    learning_rate: 0.02,
    optimizer: { name: "adamw", weight_decay: 0 },
  };
  const changes = { model: { from: join(base, "latest") }, lora: { rank: 4, alpha: 8 }, train: shorter };
  await writeFile(config, JSON.stringify({ ...given, ...changes }));
  const train = (name: string, ...more: string[]): string[] => {
    return ["train", config, "--set", `checkpoint.name=${name}`, ...more];
  };

  const printed = await succeed(...train("one"), "--workers", "1");
  expect(printed).toMatch(/training 4,096 of 40,832 parameters \(\d+\.\d+%\): adapters of rank 4 on 8 layers/);
  expect(printed).toMatch(/model .*one\/latest \(an adapter for PEFT: .*\n[^]* merge .*ringtune merge .*one --out DIR/);
  const one = join(runs, "one");
  expect((await readdir(join(one, "latest"))).filter((name) => /model|adapter/.test(name)).sort()).toEqual([
    "adapter_config.json",
    "adapter_model.safetensors",
  ]);
  const [before, after] = await readValidations(one);
  expect(after!.loss).toBeLessThan(before!.loss);
  expect((await readSteps(one)).every(({ gradientNorm }) => gradientNorm > 0)).toBe(true);

  await succeed(...train("two"), "--workers", "2");
  const [single, double] = [await losses(one), await losses(join(runs, "two"))];
  single.forEach((loss, i) => expect(Math.abs(double[i]! - loss) / loss).toBeLessThan(1e-5));

  const killed = start([...train("killed"), "--workers", "1"], { pauseAt: /saved step 10/ });
  await killed.paused();
  killed.child.kill("SIGKILL");
  await killed.finished;
  await succeed("train", "--resume", join(runs, "killed"), "--workers", "1");
  expect(await losses(join(runs, "killed"))).toEqual(single);
  const file = "adapter_model.safetensors";
  expect(await read(join(runs, "killed"), file)).toEqual(await read(one, file));

  const text = ["--prompt", "the farmer", "--tokens", "12", "--temperature", "0"];
  const merged = join(small.folder, "merged");
  expect(await succeed("merge", one, "--out", merged)).toContain(merged);
  expect((await readdir(merged)).sort()).toEqual(
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].sort(),
  );
  const written = await succeed("generate", one, ...text);
  expect(written).toMatch(/^the farmer.+/);
  expect(await succeed("generate", merged, ...text)).toBe(written);

  for (const [args, why] of [
    [["merge", one, "--out", merged], /merged holds 4 files already/],
    [["merge", base, "--out", join(small.folder, "x")], /is a model already, not an adapter/],
    [train("wrong", "--set", "lora.target_modules=[q_proj]"), /lora.target_modules: q_proj names no linear layer/],
    [["train", "--resume", one, "--set", "lora.rank=2"], /lora.rank: 2 now, 4 in the run/],
  ] as const) {
    const refused = await finish(args);
    expect(refused.code, refused.stdout).not.toBe(0);
    expect(refused.stderr).toMatch(why);
  }
  await rm(base, { recursive: true });
  const orphan = await finish(["generate", one, ...text]);
  expect(orphan.stderr).toMatch(/base of the adapter .*, another is given with --base/);
});
