import { expect, test } from "vitest";
import { loadConfig } from "../../../common/config/load.ts";
import { assertResumable } from "../../../common/config/resume.ts";

const load = (...overrides: string[]) => loadConfig({ overrides: ["train.steps=9", ...overrides] });

test("a run goes on with another length, rate, cluster and place", async () => {
  const changes = ["train.steps=20", "train.learning_rate=1", "cluster.workers=4", "checkpoint.keep=9", "data.cache=x"];
  const [saved, now] = [await load(), await load(...changes)];
  expect(() => assertResumable(saved, now, "runs/a")).not.toThrow();
});

test("a run does not go on with other trained parameters, or an optimizer that keeps another state", async () => {
  const saved = await load("model.from=m", "lora={}");
  for (const [change, found] of [
    ["lora.rank=4", "lora.rank: 4 now, 8 in the run"],
    ["lora.target_modules=[c_attn]", 'lora.target_modules: ["c_attn"] now, "all-linear" in the run'],
    ["lora=null", "lora.rank: left out now, 8 in the run"],
    ["train.optimizer.name=sgd", 'train.optimizer.name: "sgd" now, "adamw" in the run'],
  ] as const) {
    const now = await load("model.from=m", "lora={}", change);
    expect(() => assertResumable(saved, now, "runs/a")).toThrow(found);
  }
  const [whole, part] = [await load(), await load("train.freeze=[a]")];
  expect(() => assertResumable(whole, part, "runs/a")).toThrow('train.freeze: ["a"] now, [] in the run');
});

test("a run goes on with other messages, but not with rounds of another length", async () => {
  const saved = await load("train.local_steps=8");
  const other = await load("train.local_steps=8", "train.compression.method=int8", "train.outer.learning_rate=1");
  expect(() => assertResumable(saved, other, "runs/a")).not.toThrow();
  expect(() => assertResumable(saved, other, "runs/a", true)).toThrow(/train\.compression\.method: "int8" now, "none"/);
  const single = await load();
  expect(() => assertResumable(saved, single, "runs/a")).toThrow("train.local_steps: 1 now, 8 in the run");
});

test("a run does not go on with another task, but may measure another label", async () => {
  const classify = ["task.kind=classification", "data.source=a.jsonl"];
  const saved = await load(...classify);
  const other = await load(...classify, "task.labels=[a, b]");
  expect(() => assertResumable(saved, other, "runs/a")).toThrow('task.labels: ["a","b"] now, left out in the run');
  const masked = await load("task.kind=masked-lm");
  expect(() => assertResumable(masked, saved, "runs/a")).toThrow('task.kind: "classification" now, "masked-lm" in');
  const measured = await load(...classify, "task.positive_label=a");
  expect(() => assertResumable(saved, measured, "runs/a")).not.toThrow();
});

test("a run does not go on with another model, data or order of samples, and every such change is named", async () => {
  const [saved, now] = [await load(), await load("model.size=nano", "train.seed=7", "data.source=[a.txt]")];
  expect(() => assertResumable(saved, now, "runs/a")).toThrow(
    /does not fit the run runs\/a: .*\n {2}model\.size: "nano" now, left out in the run\n {2}data\.source: \["a\.txt"\] now, "sotu" in the run\n {2}train\.seed: 7 now, 0 in the run$/,
  );
});

test("a run that is to be bit-identical does not go on with anything that decides its last bits", async () => {
  const identical = ["train.bit_identical=true", "cluster.device=cpu", "cluster.threads=1"];
  const saved = await load(...identical);
  for (const [change, found] of [
    ["train.microbatch=4", "train.microbatch: 4 now, 8 in the run"],
    ["cluster.threads=2", "cluster.threads: 2 now, 1 in the run"],
    ["train.bit_identical=false", "train.bit_identical: false now, true in the run"],
  ] as const) {
    const now = await load(...identical, change);
    expect(() => assertResumable(saved, now, "runs/a")).toThrow(found);
  }
  const other = await load(...identical, "cluster.workers=5", "train.learning_rate=1");
  expect(() => assertResumable(saved, other, "runs/a")).not.toThrow();
  const [plain, coarser] = [await load(), await load("train.microbatch=4", "cluster.threads=2")];
  expect(() => assertResumable(plain, coarser, "runs/a")).not.toThrow();
  expect(() => assertResumable(plain, saved, "runs/a")).toThrow("train.bit_identical: true now, false in the run");
});
