// The engine, clipping and AdamW together against PyTorch's float64 numbers, through the program behind `make fixtures`,
// and that this program notices the mistakes that a loss alone does not show.

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RingtuneError } from "../../common/errors.ts";
import { checkFixture } from "../../worker/fixtures/check-model.ts";
import { errorOf, formatCheck, passes, severity, worstOf, type Check } from "../../worker/fixtures/check.ts";
import { formatTable, usualParts } from "../../worker/fixtures/table.ts";
import { batchOf, findFixtures, readExpected } from "../../worker/fixtures/fixture.ts";

const golden = join(import.meta.dirname, "../golden/gpt2");

async function failures(
  folder: string,
  kind: "onnx" | "tfjs" = "onnx",
): Promise<{ failed: string[]; checked: number }> {
  const checks: Check[] = [];
  for await (const group of checkFixture(folder, { kind })) checks.push(...("checks" in group ? group.checks : []));
  const failed = checks.filter((check) => !passes(check)).map(({ name }) => name.replace(/\[.*/, ""));
  return { failed: [...new Set(failed)], checked: checks.length };
}

test.each(
  [
    ["gpt2", 2429],
    ["llama", 2409],
    ["bert-seqcls", 241],
    ["bert-tokcls", 329],
  ].flatMap(([name, count]) => ["onnx", "tfjs"].map((kind) => ({ name: String(name), count, kind }))),
)("every number of the fixture $name is within tolerance on $kind", async ({ name, count, kind }) => {
  const found = await failures(join(golden, "..", name), kind as "onnx" | "tfjs");
  expect(found).toEqual({ failed: [], checked: count });
});

describe("a mistake is noticed:", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ringtune-fixture-"));
    await cp(golden, folder, { recursive: true });
  });
  afterEach(async () => rm(folder, { recursive: true }));

  async function edit(file: string, change: (json: Record<string, unknown>) => void): Promise<void> {
    const json = JSON.parse(await readFile(join(folder, file), "utf8")) as Record<string, unknown>;
    change(json);
    await writeFile(join(folder, file), JSON.stringify(json));
  }

  test.each([
    ["the exact gelu for the tanh form", { activation_function: "gelu" }],
    ["another norm epsilon", { layer_norm_epsilon: 1e-6 }],
  ])("%s", async (_, changes) => {
    await edit("config.json", (config) => Object.assign(config, changes));
    expect((await failures(folder)).failed).toContain("logits_row0");
  });

  test.each([
    ["betas of Adam", "losses", { betas: [0.8, 0.999] }],
    ["weight decay", "adamw final_param_norm", { weight_decay: 0.1 }],
    ["clipping", "losses", { clip_grad_norm: null }],
  ])("other %s", async (_, where, changes) => {
    await edit("expected.json", ({ trajectories }) => {
      Object.assign((trajectories as { adamw: { recipe: object } }).adamw.recipe, changes);
    });
    const { failed } = await failures(folder);
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.every((name) => name.startsWith("adamw"))).toBe(true);
    expect(failed.some((name) => name.includes(where))).toBe(true);
  });

  test("a trajectory, an adapter and a gradient that the fixture lacks are named", async () => {
    await edit("expected.json", (json) => {
      delete json["lora"];
      delete (json["trajectories"] as Record<string, unknown>)["sgd"];
      delete (json["grad_norms"] as Record<string, unknown>)["transformer.wpe.weight"];
    });
    const printed: string[] = [];
    const groups = [];
    for await (const group of checkFixture(folder, { kind: "onnx", device: "cpu" })) groups.push(group);
    for (const group of groups) if ("lacks" in group) printed.push(group.lacks);
    expect(printed).toEqual(["grad_norms of 1 of 28 tensors, such as transformer.wpe.weight"]);
    const parts = new Set(groups.flatMap((group) => ("part" in group ? [group.part] : [])));
    expect(usualParts.filter((part) => !parts.has(part))).toEqual(["sgd", "lora", "merged"]);
  });

  test("an expected.json without its numbers", async () => {
    await edit("expected.json", (json) => delete json["loss"]);
    await expect(readExpected(folder)).rejects.toThrow(/loss: /);
    await expect(readExpected(folder)).rejects.toThrow(RingtuneError);
  });
});

test("labels are shifted by one, and the last position of a row predicts nothing", async () => {
  const { inputIds, targets, rows, length } = batchOf(await readExpected(golden), { head: { kind: "causal-lm" } });
  for (let row = 0; row < rows; row++) {
    expect(targets[(row + 1) * length - 1]).toBe(-100);
    for (let t = 0; t < length - 1; t++) {
      const target = targets[row * length + t];
      if (target !== -100) expect(target).toBe(inputIds[row * length + t + 1]);
    }
  }
});

test("a folder of fixtures is searched, a fixture is itself", async () => {
  expect(await findFixtures(join(golden, ".."))).toContain(join(golden, "../gpt2"));
  expect(await findFixtures(golden)).toEqual([golden]);
  await expect(findFixtures(join(golden, "absent"))).rejects.toThrow(/ENOENT/);
});

test("numbers are compared relatively or absolutely, and never pass when they are not finite", () => {
  const relative: Check = { name: "n", got: 2.0001, expected: 2, kind: "relative", limit: 1e-4 };
  expect(errorOf(relative)).toBeCloseTo(5e-5, 10);
  expect(passes(relative)).toBe(true);
  expect(passes({ ...relative, got: 2.001 })).toBe(false);
  expect(passes({ ...relative, got: NaN })).toBe(false);
  expect(passes({ ...relative, got: Infinity })).toBe(false);
  expect(passes({ ...relative, expected: 0, got: 1e-9 })).toBe(false);
  expect(passes({ ...relative, kind: "absolute", expected: 0, got: 1e-9 })).toBe(true);
  expect(severity({ ...relative, got: NaN })).toBe(Infinity);
  expect(worstOf([relative, { ...relative, got: NaN }, { ...relative, got: 3 }])?.got).toBeNaN();
  expect(formatCheck({ ...relative, got: 3 })).toMatch(
    /^FAIL {2}n +got 3 +expected 2 +relative error 5.0e-1, limit 0.0001$/,
  );
});

test("the table has a row for each fixture and engine, with the largest error of each part, and what failed", () => {
  const check = (got: number, limit = 1e-4): Check => ({ name: "n", got, expected: 1, kind: "relative", limit });
  const parts = new Map([
    ["loss", [check(1.00001), check(1.00002), check(1.01, 1)]],
    ["saved", [check(1, 0)]],
    ["adam", [check(2), check(1)]],
  ]);
  const rows = [
    { fixture: "gpt2", engine: "onnx-cpu", parts },
    { fixture: "gpt2", engine: "tfjs-cpu", parts: new Map(), error: "gone" },
  ];
  expect(formatTable(rows)).toEqual([
    "fixture  engine    numbers    logits  loss    gradients  adamw  sgd  rmsprop  lora  merged  saved  adam",
    "gpt2     onnx-cpu  5/6        -       2.0e-5  -          -      -    -        -     -       ok     FAIL 1",
    "gpt2     tfjs-cpu  0/0 ERROR  -       -       -          -      -    -        -     -       -      -",
  ]);
});
