import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatConfig, loadConfig } from "../../../common/config/load.ts";
import type { Override } from "../../../common/config/overrides.ts";
import { RingtuneError } from "../../../common/errors.ts";

async function problemsOf(text: string, overrides: Override[] = []): Promise<string[]> {
  const error = await loadConfig({ path: "a.yaml", text, overrides }).catch((thrown: unknown) => thrown);
  if (!(error instanceof RingtuneError)) throw new Error("the configuration was accepted");
  expect(error.code).toBe("config_invalid");
  const lines = error.message.split("\n");
  expect(error.details["problems"]).toBe(lines.length === 1 ? 1 : lines.length - 1);
  return lines.length === 1 ? lines : lines.slice(1).map((line) => line.trim());
}

describe("a valid file", () => {
  test("gets every default", async () => {
    const config = await loadConfig({ text: "train: { steps: 5 }" });
    expect(config.train).toMatchObject({ steps: 5, global_batch: 16, clip: 1, schedule: "cosine" });
    expect(config.train.optimizer).toEqual({
      name: "adamw",
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weight_decay: 0.01,
    });
    expect(config.cluster.host).toBe("127.0.0.1");
    expect(config.model.size).toBeUndefined();
  });

  test("may have sections whose keys are all commented out", async () => {
    const config = await loadConfig({ text: "metrics:\n  # port: 1\ntrain:\n  steps: 5\n  optimizer:\n" });
    expect(config.metrics.port).toBe(9464);
    expect(config.train.optimizer.name).toBe("adamw");
  });

  test("may use anchors", async () => {
    const config = await loadConfig({ text: "train: { steps: &n 5, warmup_steps: 2, eval_every: *n }" });
    expect(config.train.eval_every).toBe(5);
  });

  test("written out and read back is the same", async () => {
    const text = "train: { epochs: 1.5, clip: null }\ndata: { source: [a.txt, b.txt] }\ncheckpoint: { name: '2024' }";
    const config = await loadConfig({ text });
    expect(await loadConfig({ text: formatConfig(config) })).toEqual(config);
  });
});

describe("all problems are reported at once, each with its place", () => {
  test("unknown keys with the nearest valid one, wrong types, duplicates, combinations and overrides together", async () => {
    const text = [
      "train:",
      "  steps: ten",
      "  learning_rat: 0.1",
      "  global_batch: 16",
      "  microbatch: 6",
      "  seed: 1",
      "  seed: 2",
      "learning_rate: 0.1",
      "optimizer: { beta1: 2 }",
      "zebra: 1",
    ].join("\n");
    expect(await problemsOf(text, ["cluster.workers=none", "model.size=micor"])).toEqual([
      'a.yaml:2:3: train.steps: expected a whole number from 1 to 1000000000, got the text "ten"',
      "a.yaml:3:3: train.learning_rat: unknown key; did you mean train.learning_rate?",
      "a.yaml:5:3: train.microbatch: 6 does not divide train.global_batch 16; the nearest divisors are 4 and 8",
      "a.yaml:7:3: train.seed: given twice, first in line 6; remove one of them",
      "a.yaml:8:1: learning_rate: unknown key; did you mean train.learning_rate?",
      "a.yaml:9:1: optimizer: unknown key; did you mean train.optimizer?",
      "a.yaml:10:1: zebra: unknown key; the keys at the top level are task, model, tokenizer, data, train, lora, cluster, checkpoint, metrics",
      '--set model.size=micor: model.size: expected "nano", "micro", "mini", "small" or "gpt2", got the text "micor"; did you mean "micro"?',
      '--set cluster.workers=none: cluster.workers: expected "auto" or a whole number from 1 to 4096, got the text "none"',
    ]);
  });

  test("a single problem is one line", async () => {
    expect(await problemsOf("train: { steps: 0 }")).toEqual([
      "a.yaml:1:10: train.steps: expected a whole number from 1 to 1000000000, got 0",
    ]);
  });

  test("a mistyped choice does not hide what is wrong elsewhere", async () => {
    const text = "train: { steps: 3, optimizer: { name: sdg, momentum: 0.9 }, microbatch: 5 }";
    expect((await problemsOf(text)).map((line) => line.split(": ")[1])).toEqual([
      "train.optimizer.name",
      "train.microbatch",
    ]);
  });

  test("a rule is not reported on top of a broken or mistyped field", async () => {
    expect(await problemsOf("train: { step: 3 }")).toEqual([
      "a.yaml:1:10: train.step: unknown key; did you mean train.steps?",
    ]);
    expect(await problemsOf("train: 3")).toEqual([
      "a.yaml:1:1: train: expected a section with keys such as train.steps, got 3",
    ]);
  });

  test.each([
    ["train: { steps: 3, lr: 1 }", "train.lr: unknown key; did you mean train.learning_rate?"],
    ["train: { steps: 3, beta1: 1 }", "train.beta1: unknown key; did you mean train.optimizer.beta1?"],
    ["train: { steps: 3, steps.x: 1 }", "train.steps.x: unknown key; train.steps holds a whole number"],
    ["train.steps: 3", 'train.steps: sections are nested in a file; write "train:" and, indented below it, "steps:"'],
    ["train: { steps: 3 }\ntrian: { seed: 1 }", "trian: unknown key; did you mean train?"],
    ["train: { steps: 3 }\n__proto__: { seed: 1 }", "__proto__: unknown key"],
    ["train: { steps: 3 }\nconstructor: 1", "constructor: unknown key"],
    ["train: { steps: 3, clip: off }", 'train.clip: expected a number above 0 or null, got the text "off"'],
    ["train: { steps: .inf }", "train.steps: expected a whole number from 1 to 1000000000, got Infinity"],
    ["train: { steps: 3, learning_rate: .nan }", "train.learning_rate: expected a number above 0, got NaN"],
    ["train: { steps: 3, learning_rate: }", "train.learning_rate: expected a number above 0, got nothing"],
    [
      "train: { steps: 3, optimizer: { name: sgd, beta1: 0.5 } }",
      'a.yaml:1:44: train.optimizer.beta1: is for "adamw" or "adam" only, and train.optimizer.name is "sgd", whose keys are weight_decay, momentum and nesterov',
    ],
    [
      "train: { steps: 3, optimizer: { momentum: 0.5 } }",
      'momentum: is for "sgd" or "rmsprop" only, and train.optimizer.name is "adamw", whose keys are beta1, beta2, epsilon and weight_decay',
    ],
    [
      "train: { steps: 3, optimizer: { name: admaw, momentum: 0.5 } }",
      'expected "adamw", "adam", "sgd" or "rmsprop", got the text "admaw"; did you mean "adamw"?',
    ],
    ["train: { steps: 3, optimizer: { name: rmsprop, moment: 0.5 } }", "did you mean train.optimizer.momentum?"],
    ["train: { steps: 3, optimizer: { beta1: 1 } }", "beta1: expected a number from 0, below 1, got 1"],
    ["train: { steps: 3 }\ndata: { source: [a, 1] }", 'expected text or a list of texts, got the list ["a",1]'],
    ["train: { steps: 3 }\ncheckpoint: { name: 2024 }", "got 2024; put it in quotes"],
    ["train: { steps: 3 }\ncheckpoint: { name: ../x }", "expected a name of letters, digits, dots, dashes"],
    ["train: { steps: 3 }\nmetrics: { port: 70000 }", "expected a whole number from 0 to 65535, got 70000"],
  ])("%s", async (text, expected) => {
    const problems = await problemsOf(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });
});

describe("a file that is not a configuration", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ringtune-config-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function failure(path: string): Promise<string> {
    const error = await loadConfig({ path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RingtuneError);
    return (error as RingtuneError).message;
  }

  test("missing, a folder, binary, not UTF-8, huge", async () => {
    expect(await failure(join(folder, "no.yaml"))).toContain("no.yaml does not exist; name a YAML file");
    expect(await failure(folder)).toContain("is a folder");
    const write = async (name: string, contents: Uint8Array): Promise<string> => {
      await writeFile(join(folder, name), contents);
      return join(folder, name);
    };
    expect(await failure(await write("binary", Uint8Array.of(116, 0, 1)))).toContain("is a binary file");
    expect(await failure(await write("latin1", Uint8Array.of(116, 0xe9, 116)))).toContain("is not UTF-8 text");
    expect(await failure(await write("huge", new Uint8Array(2 << 20).fill(97)))).toContain("is larger than 1 MiB");
    expect(await failure(await write("empty", new Uint8Array()))).toContain("is empty; begin with");
  });

  test.each([
    ["# nothing\n", "a.yaml is empty"],
    ["- a\n- b\n", 'a.yaml must be sections such as train: and model:, but holds the list ["a","b"]'],
    ["just words", 'but holds the text "just words"'],
    ["train: {steps: 3", "a.yaml:1:17: not valid YAML: "],
    ["train:\n\tsteps: 3", "a.yaml:2:1: a tab can't indent; use spaces"],
    ["train: {steps: 3}\n---\nmodel: {}", "a.yaml:2:1: a second document begins here"],
    ["train: !!js/function 'x'", "a.yaml:1:8: not valid YAML: Unresolved tag"],
    ["a: &a [x, x]\nb: &b [*a, *a]\n".concat("c: *nope"), "not valid YAML"],
  ])("%j", async (text, expected) => {
    expect((await problemsOf(text)).join("\n")).toContain(expected);
  });

  test("nesting and aliases without end are refused, not followed", async () => {
    expect((await problemsOf("[".repeat(100_000))).join()).toMatch(/nested too deeply|not valid YAML/);
    const bomb = ["a0: &a0 [x, x]"];
    for (let i = 1; i < 30; i++) bomb.push(`a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}]`);
    expect((await problemsOf(bomb.join("\n"))).join()).toMatch(/alias/i);
  });
});

describe("--set", () => {
  const load = (...overrides: Override[]) =>
    loadConfig({ text: "train: { steps: 5, clip: 2 }\nmodel: { size: nano }", overrides });

  test("chooses another optimizer, with its own defaults and keys", async () => {
    const config = await load("train.optimizer.momentum=0.9", "train.optimizer.name=sgd", "train.warmup_ratio=0.1");
    const optimizer = { name: "sgd", momentum: 0.9, nesterov: false, weight_decay: 0 };
    expect(config.train.optimizer).toEqual(optimizer);
    expect(await loadConfig({ text: formatConfig(config) })).toEqual(config);
  });

  test("changes numbers, texts, lists and sections, the last one winning", async () => {
    const config = await load(
      "train.learning_rate=3e-4",
      "train.learning_rate=1e-4",
      "data.source=[a.txt, b.txt]",
      'train.optimizer={"beta1": 0.8}',
      "train.optimizer.beta2=0.95",
      "checkpoint.dir=2024",
      "data.cache=%x: [y",
      "metrics.enabled=false",
    );
    expect(config.train.learning_rate).toBe(1e-4);
    expect(config.data.source).toEqual(["a.txt", "b.txt"]);
    expect(config.train.optimizer).toMatchObject({ beta1: 0.8, beta2: 0.95, epsilon: 1e-8 });
    expect(config.checkpoint.dir).toBe("2024");
    expect(config.data.cache).toBe("%x: [y");
    expect(config.metrics.enabled).toBe(false);
  });

  test("an empty section turns on what its presence does, and takes nothing away", async () => {
    const config = await load("lora={}", "model.size=null", "model.from=m", "train={}");
    expect(config.lora).toMatchObject({ rank: 8, target_modules: "all-linear" });
    expect(config.train.clip).toBe(2);
    expect((await load("train.early_stopping={}")).train.early_stopping?.patience).toBe(3);
    expect((await load("lora={}", "lora=null")).lora).toBeUndefined();
  });

  test("null takes a key out, or is the value where null is one", async () => {
    const config = await load("train.steps=null", "train.epochs=2", "train.clip=null", "model.size=null");
    expect(config.train).toMatchObject({ epochs: 2, clip: null });
    expect(config.train.steps).toBeUndefined();
    expect(config.model.size).toBeUndefined();
  });

  test("mends a broken value of the file", async () => {
    const config = await loadConfig({ text: "train: { steps: ten }", overrides: ["train.steps=10"] });
    expect(config.train.steps).toBe(10);
  });

  test.each<[Override, string]>([
    [
      "train.learning_rat=1",
      "--set train.learning_rat=1: train.learning_rat: unknown key; did you mean train.learning_rate?",
    ],
    ["steps=1", "--set steps=1: steps: unknown key; did you mean train.steps?"],
    ["train.steps", "--set train.steps: expected path=value, such as --set train.learning_rate=3e-4"],
    ["=3", "--set =3: expected path=value"],
    ["train.steps=", "--set train.steps=: train.steps: nothing comes after the =; write train.steps=null"],
    ["train.steps.x=1", "--set train.steps.x=1: train.steps.x: unknown key; train.steps holds a whole number"],
    ["train.steps=[1", "--set train.steps=[1: train.steps: not valid YAML"],
    ["train={stepz: 1}", "--set train={stepz: 1}: train.stepz: unknown key; did you mean train.steps?"],
    ["train=5", "--set train=5: train: expected a section with keys such as train.steps, got 5"],
    ["train.epochs=2", "train.epochs: 2 is given together with train.steps 5; give only one of them"],
    [{ option: "--workers 40", set: "cluster.workers=40" }, "--workers 40: cluster.workers: 40 workers can't share"],
  ])("%j", async (override, expected) => {
    const problems = await problemsOf("train: { steps: 5 }", [override]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });
});
