import { readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  childrenOf,
  finish,
  isAlive,
  readRecords,
  readSteps,
  readValidations,
  smallRun,
  start,
  type SmallRun,
} from "../support/cli.ts";

/** Trains to the end; returns the run's folder. */
async function train({ folder, config }: SmallRun, name: string, ...args: string[]): Promise<string> {
  const result = await finish(["train", config, "--set", `checkpoint.name=${name}`, ...args]);
  expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
  return join(folder, "runs", name);
}

function worstRelative(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]!) / Math.abs(value)));
}

async function losses(run: string): Promise<number[]> {
  return (await readSteps(run)).map(({ loss }) => loss);
}

test("two workers train a model to its end and leave everything that a user needs", async () => {
  const small = await smallRun({ steps: 40 });
  const run = await train(small, "whole", "--workers", "2");

  const steps = await readSteps(run);
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
  expect(steps.every(({ worldSize, samples }) => worldSize === 2 && samples === 12)).toBe(true);
  const validations = await readValidations(run);
  expect(validations.map(({ step }) => step)).toEqual([0, 10, 20, 30, 40]);
  expect(validations[0]!.perplexity).toBeGreaterThan(200);
  expect(validations[4]!.perplexity).toBeLessThan(validations[0]!.perplexity / 3);

  expect(await readlink(join(run, "latest"))).toMatch(/step-00000040$/);
  const model = JSON.parse(await readFile(join(run, "latest/config.json"), "utf8")) as Record<string, unknown>;
  expect(model).toMatchObject({ model_type: "gpt2", n_layer: 2, n_embd: 32, vocab_size: 320 });
  expect(await readFile(join(run, "curve.svg"), "utf8")).toMatch(/^<svg[\s\S]*<\/svg>\s*$/);

  const speech = await finish(["generate", run, "--prompt", "the farmer", "--tokens", "20"]);
  expect(speech, speech.stderr).toMatchObject({ code: 0 });
  expect(speech.stdout).toMatch(/^the farmer.+/);
});

test("a LLaMA trains from scratch, and another run goes on from its directory", async () => {
  const small = await smallRun();
  const run = await train(small, "llama", "--set", "model.architecture=llama");
  const directory = join(run, "latest");
  const model = JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as Record<string, unknown>;
  expect(model).toMatchObject({ model_type: "llama", hidden_size: 32, intermediate_size: 96, vocab_size: 320 });
  const first = await readValidations(run);
  expect(first.at(-1)!.loss).toBeLessThan(first[0]!.loss - 0.5);

  const settings = JSON.parse(await readFile(small.config, "utf8")) as { model: unknown; tokenizer: unknown };
  const config = join(small.folder, "more.yaml");
  await writeFile(config, JSON.stringify({ ...settings, model: { from: directory }, tokenizer: undefined }));
  const second = await train({ ...small, config }, "more", "--workers", "2");
  expect((await readValidations(second))[0]!.loss).toBeCloseTo(first.at(-1)!.loss, 5);
});

describe("the maths does not depend on the number of workers", () => {
  test("with gradient accumulation: 1, 2 and 4 workers have the same losses within 1e-5", async () => {
    const small = await smallRun({ global_batch: 16, microbatch: 2 });
    const [one, two, four] = [
      await losses(await train(small, "one", "--workers", "1")),
      await losses(await train(small, "two", "--workers", "2")),
      await losses(await train(small, "four", "--workers", "4")),
    ];
    expect(one.length).toBe(20);
    expect(worstRelative(one, two)).toBeLessThan(1e-5);
    expect(worstRelative(one, four)).toBeLessThan(1e-5);
  });

  test("with unequal shards and dropout: 7 sequences over 1, 2 and 4 workers", async () => {
    const small = await smallRun({ global_batch: 7, microbatch: 7, dropout: 0.2 });
    const [one, two, four] = [
      await losses(await train(small, "one", "--workers", "1")),
      await losses(await train(small, "two", "--workers", "2")),
      await losses(await train(small, "four", "--workers", "4")),
    ];
    expect(worstRelative(one, two)).toBeLessThan(1e-5);
    expect(worstRelative(one, four)).toBeLessThan(1e-5);
  });

  test("over epochs, where the last step and the last window are short", async () => {
    const small = await smallRun({ steps: undefined, epochs: 1.5, global_batch: 50, microbatch: 25 });
    const one = await train(small, "one", "--workers", "1");
    const three = await train(small, "three", "--workers", "3");
    expect(worstRelative(await losses(one), await losses(three))).toBeLessThan(1e-5);
    const steps = await readSteps(three);
    expect(steps.at(-1)!.samples).toBeLessThan(50);
    expect(steps.at(-1)!.epoch).toBeCloseTo(1.5, 2);
  });

  test("on the eager engine as on the compiled one", async () => {
    const small = await smallRun({ steps: 6 });
    const compiled = await losses(await train(small, "onnx", "--workers", "2"));
    const eager = await losses(await train(small, "tfjs", "--workers", "1", "--set", "cluster.engine=tfjs"));
    expect(worstRelative(compiled, eager)).toBeLessThan(1e-4);
  });
});

describe("a run that ends early goes on where it was", () => {
  test("killed without warning after the checkpoint of step 10: the same losses and weights, bit for bit, dropout included", async () => {
    const small = await smallRun({ dropout: 0.2 });
    const whole = await train(small, "whole", "--workers", "2");
    expect(await losses(whole)).not.toEqual(await losses(await train(small, "plain", "--set", "train.dropout=0")));

    const killed = start(["train", small.config, "--workers", "2", "--set", "checkpoint.name=killed"], {
      pauseAt: /saved step 10/,
    });
    await killed.paused();
    killed.child.kill("SIGKILL");
    await killed.finished;
    const run = join(small.folder, "runs/killed");
    const resumed = await finish(["train", small.config, "--workers", "2", "--resume", run]);
    expect(resumed, resumed.stderr).toMatchObject({ code: 0 });

    await expectSameRun(run, whole);
  });

  test("stopped by Ctrl-C in the middle: exit code 130, then the same losses and weights, bit for bit", async () => {
    const small = await smallRun();
    const whole = await train(small, "whole", "--workers", "2");

    const stopped = start(["train", small.config, "--workers", "2", "--set", "checkpoint.name=stopped"], {
      pauseAt: /step +7\/20/,
    });
    await stopped.paused();
    stopped.child.kill("SIGINT");
    stopped.child.kill("SIGCONT");
    const result = await stopped.finished;
    expect(result, result.stderr).toMatchObject({ code: 130 });
    expect(result.stderr).toMatch(/stopped by SIGINT after step \d+; go on with: ringtune train --resume/);
    const run = join(small.folder, "runs/stopped");
    const resumed = await finish(["train", "--resume", run]);
    expect(resumed, resumed.stderr).toMatchObject({ code: 0 });

    await expectSameRun(run, whole);
  });

  async function expectSameRun(run: string, whole: string): Promise<void> {
    expect(await losses(run)).toEqual(await losses(whole));
    const validation = async (folder: string) => (await readValidations(folder)).map(({ step, loss }) => [step, loss]);
    expect(await validation(run)).toEqual(await validation(whole));
    const files = (await readdir(join(whole, "latest"))).filter((name) => name.endsWith(".safetensors"));
    expect(files.sort()).toEqual([
      ...["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
      ...["optimizer-00001-of-00002.safetensors", "optimizer-00002-of-00002.safetensors"],
    ]);
    for (const file of files) {
      const [a, b] = [await readFile(join(run, "latest", file)), await readFile(join(whole, "latest", file))];
      expect(a.equals(b), file).toBe(true);
    }
  }
});

test("a worker that is killed costs the uncommitted step: the others finish with the same losses", async () => {
  const small = await smallRun({ steps: 60 });
  const whole = await train(small, "whole", "--workers", "3");

  const settings = ["--set", "checkpoint.name=wounded", "--set", "cluster.restarts=0"];
  const running = start(["train", small.config, "--workers", "3", ...settings], { pauseAt: /step +9\/60/ });
  await running.paused();
  const workers = await childrenOf(running.child.pid!);
  expect(workers.length).toBe(3);
  process.kill(workers[1]!, "SIGKILL");
  running.child.kill("SIGCONT");
  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stdout).toMatch(/generation 1 -> 2 with 2 workers: lost worker w\d/);

  const run = join(small.folder, "runs/wounded");
  const records = await readRecords(run);
  expect(records.filter(({ kind }) => kind === "step").length).toBe(60);
  expect((await readSteps(run)).at(-1)).toMatchObject({ worldSize: 2, generation: 2 });
  expect(worstRelative(await losses(whole), await losses(run))).toBeLessThan(1e-5);
});

test("no worker outlives a coordinator that is killed", async () => {
  const small = await smallRun({ steps: 1_000_000, eval_every: 0 });
  const running = start(["train", small.config, "--workers", "2"]);
  await running.waitFor(/step +3\//);
  const workers = await childrenOf(running.child.pid!);
  expect(workers.length).toBe(2);
  running.child.kill("SIGKILL");
  await running.finished;
  await expect.poll(() => Promise.all(workers.map(isAlive))).toEqual([false, false]);
});

test("the metrics of a run in progress have every figure, in Prometheus' format", async () => {
  const small = await smallRun({ steps: 1_000_000 });
  const running = start([
    ...["train", small.config, "--workers", "2"],
    ...["--set", "metrics.enabled=true", "--set", "metrics.port=0"],
  ]);
  const [, url] = await running.waitFor(/metrics at (http\S+)/);
  await running.waitFor(/valid +10\//);
  const text = await (await fetch(url!)).text();
  const valueOf = (name: string): number => Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1]);
  for (const name of ["train_loss", "validation_loss", "gradient_norm", "learning_rate", "samples_processed_total"]) {
    expect(valueOf(`ringtune_${name}`), name).toBeGreaterThan(0);
  }
  expect(valueOf("ringtune_validation_perplexity")).toBeGreaterThan(1);
  expect(valueOf("ringtune_tokens_processed_total")).toBeGreaterThanOrEqual(10 * 12 * 15);
  expect(valueOf("ringtune_all_reduce_bytes_total")).toBeGreaterThan(0);
  expect(valueOf("ringtune_all_reduce_bus_bandwidth_bytes_per_second")).toBeGreaterThan(0);
  expect(valueOf("ringtune_world_size")).toBe(2);
  expect(valueOf("ringtune_generation")).toBe(1);
  for (const phase of ["data", "compute", "all_reduce", "commit", "total"]) {
    expect(text).toMatch(new RegExp(`ringtune_step_seconds_count\\{phase="${phase}"\\} [1-9]`));
  }
});

test("coordinator and workers that are started by hand train like those of one command", async () => {
  const small = await smallRun();
  const whole = await train(small, "whole", "--workers", "2");

  const coordinator = start([
    ...["coordinator", small.config, "--set", "cluster.workers=2", "--set", "checkpoint.name=hand"],
  ]);
  const [, address, token] = await coordinator.waitFor(/ringtune worker --coordinator (\S+) --token-file (\S+)/);
  const join1 = ["worker", "--coordinator", address!, "--token-file", token!];
  const workers = [start(join1), start(join1)];
  const result = await coordinator.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  for (const worker of workers) expect(await worker.finished).toMatchObject({ code: 0 });
  expect(await losses(join(small.folder, "runs/hand"))).toEqual(await losses(whole));
});

test("early stopping ends a run that no longer learns, keeps the weights that did best, and says so when it is resumed", async () => {
  const early = { patience: 2, min_delta: 0.02 };
  const small = await smallRun({
    steps: 200,
    eval_every: 5,
    learning_rate: 0.3,
    warmup_steps: 0,
    early_stopping: early,
  });
  const result = await finish(["train", small.config, "--set", "checkpoint.name=early", "--set", "checkpoint.keep=1"]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  const run = join(small.folder, "runs/early");

  const validations = (await readValidations(run)).filter(({ step }) => step > 0);
  const best = validations.reduce((a, b) => (b.loss < a.loss ? b : a));
  const last = validations.at(-1)!;
  expect(last.step).toBeLessThan(200);
  expect(best.step).toBeLessThan(last.step);
  const [third] = validations.slice(-3);
  for (const { loss } of validations.slice(-2)) expect(loss).toBeGreaterThan(third!.loss - early.min_delta);
  expect((await readSteps(run)).at(-1)!.step).toBe(last.step);
  expect(await readlink(join(run, "latest"))).toContain(String(last.step));
  expect(await readlink(join(run, "best"))).toMatch(new RegExp(`step-0*${best.step}$`));
  expect((await readdir(join(run, "checkpoints"))).length).toBe(2);
  expect(result.stdout).toContain("the validation loss has not become better by more than 0.02 for 2 validations");
  expect(result.stdout).toMatch(new RegExp(`model .*early/best, the weights of step ${best.step}, which did best`));

  const again = await finish(["train", "--resume", run]);
  expect(again.code).toBe(2);
  expect(again.stderr).toContain(`ended early, after step ${last.step}`);
  expect(again.stderr).toContain("raise train.early_stopping.patience to go on");
});
