import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../common/config/load.ts";
import { packageRoot } from "../../common/package-root.ts";
import { loadSpamAssassin } from "../../coordinator/data/email/spam-assassin.ts";
import { finish, readValidations, temporaryFolder } from "../support/cli.ts";

test("has an example that loads", async () => {
  const { task, data, cluster } = await loadConfig({ path: join(packageRoot, "examples/spam.yaml"), overrides: [] });
  expect(task).toMatchObject({ kind: "classification", labels: ["ham", "spam"] });
  expect(data).toMatchObject({ source: "spam-assassin", validation_fraction: 0.2, near_duplicates: "group" });
  expect(cluster.workers).toBe("auto");
});

test(
  "learns to tell spam from ham in a part of the mails, and says what a bag of words does",
  { timeout: 300_000 },
  async () => {
    const folder = await temporaryFolder();
    const mails = await loadSpamAssassin({ every: 15 });
    const source = join(folder, "mails.jsonl");
    await writeFile(source, mails.map(({ text, label }) => `${JSON.stringify({ text, label })}\n`).join(""));
    const config = join(folder, "spam.yaml");
    await writeFile(
      config,
      JSON.stringify({
        task: { kind: "classification", labels: ["ham", "spam"] },
        model: { architecture: "bert", layers: 1, hidden: 32, heads: 2, positions: 96 },
        tokenizer: { vocab_size: 1000 },
        data: { source, validation_fraction: 0.2, cache: join(folder, "cache") },
        train: {
          ...{
            epochs: 5,
            global_batch: 16,
            microbatch: 8,
            sequence_length: 96,
            learning_rate: 0.005,
            warmup_steps: 20,
          },
          ...{ eval_every: 50, eval_sequences: 1000, early_stopping: { metric: "f1", patience: 10 }, seed: 1 },
        },
        cluster: { threads: 1 },
        checkpoint: { dir: join(folder, "runs"), name: "spam", every: 0 },
        metrics: { enabled: false },
      }),
    );
    const baseline = await finish(["baseline", config]);
    expect(baseline, baseline.stderr).toMatchObject({ code: 0 });
    const f1Of = (line: string): number =>
      Number(new RegExp(`^${line} .* f1 ([0-9.]+)`, "m").exec(baseline.stdout)?.[1]);
    expect(f1Of("baseline")).toBeGreaterThan(0.8);
    expect(f1Of("baseline")).toBeLessThanOrEqual(1);
    expect(f1Of('always "ham"')).toBe(0);
    expect(baseline.stdout).toMatch(/^words for "spam": .*\b(click|free|remove|money)\b/m);

    const trained = await finish(["train", config, "--workers", "2"]);
    expect(trained, trained.stderr + trained.stdout).toMatchObject({ code: 0 });
    const found = /^data: .* are near duplicates of others .* each group is on one side of the split$/m;
    expect(found.exec(trained.stdout)?.[0]).toBe(found.exec(baseline.stdout)?.[0]);
    expect(trained.stdout).toMatch(found);
    const scores = (await readValidations(join(folder, "runs/spam"))).map(({ metrics }) => metrics?.f1 ?? NaN);
    // Always "spam" is right in three mails of ten: an F1 of 0.48.
    expect(Math.max(...scores)).toBeGreaterThan(0.75);
  },
);

test("refuses a baseline of what is no classification", async () => {
  const { code, stderr } = await finish(["baseline", join(packageRoot, "examples/sotu.yaml")]);
  expect(code).toBe(2);
  expect(stderr).toContain("task.kind: language-modelling has no baseline");
});
