import { expect, test } from "vitest";
import { loadConfig } from "../../../common/config/load.ts";
import { assertResumable } from "../../../common/config/resume.ts";

const load = (...overrides: string[]) => loadConfig({ overrides: ["train.steps=9", ...overrides] });

test("a run goes on with another length, rate, cluster and place", async () => {
  const changes = ["train.steps=20", "train.learning_rate=1", "cluster.workers=4", "checkpoint.keep=9", "data.cache=x"];
  const [saved, now] = [await load(), await load(...changes)];
  expect(() => assertResumable(saved, now, "runs/a")).not.toThrow();
});

test("a run does not go on with another model, data or order of samples, and every such change is named", async () => {
  const [saved, now] = [await load(), await load("model.size=nano", "train.seed=7", "data.source=[a.txt]")];
  expect(() => assertResumable(saved, now, "runs/a")).toThrow(
    /does not fit the run runs\/a: .*\n {2}model\.size: "nano" now, left out in the run\n {2}data\.source: \["a\.txt"\] now, "sotu" in the run\n {2}train\.seed: 7 now, 0 in the run$/,
  );
});
