import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { childrenOf, finish, readRecords, smallRun, start } from "../support/cli.ts";

/** Everything of a run that must be bit-identical: losses, norms, validations, and SHA-256 of the final weights. */
async function bitsOf(run: string) {
  const records = await readRecords(run);
  const weights = await readFile(join(run, "latest/model.safetensors"));
  return {
    steps: records.flatMap((record) =>
      record.kind === "step" ? [[record.step, record.loss, record.gradientNorm]] : [],
    ),
    validations: records.flatMap((record) => (record.kind === "validation" ? [[record.step, record.loss]] : [])),
    weights: createHash("sha256").update(weights).digest("hex"),
  };
}

test("one, two and three workers, and three of which one is killed, end with the same bits", async () => {
  // With dropout, over epochs, so that the last batch is a short one, and not a multiple of the microbatch.
  const small = await smallRun({
    ...{ bit_identical: true, dropout: 0.1, steps: undefined, epochs: 2.3, global_batch: 20, microbatch: 4 },
  });
  const set = ["--set", "cluster.device=cpu", "--set", "checkpoint.writers=one"];
  const runOf = (name: string): string => join(small.folder, "runs", name);
  const trained = async (workers: number): Promise<Awaited<ReturnType<typeof bitsOf>>> => {
    const name = `with-${workers}`;
    const args = ["--workers", String(workers), "--set", `checkpoint.name=${name}`];
    const result = await finish(["train", small.config, ...set, ...args]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    return bitsOf(runOf(name));
  };
  const one = await trained(1);
  expect(one.steps.length).toBe(33);
  expect(await trained(2)).toEqual(one);
  expect(await trained(3)).toEqual(one);

  const wounded = start(["train", small.config, ...set, "--workers", "3", "--set", "checkpoint.name=wounded"], {
    pauseAt: /step +9\//,
  });
  await wounded.paused();
  const workers = await childrenOf(wounded.child.pid!);
  process.kill(workers[1]!, "SIGKILL");
  wounded.child.kill("SIGCONT");
  const result = await wounded.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stdout).toMatch(/generation 1 -> 2 with 2 workers: lost worker w\d/);
  expect(await bitsOf(runOf("wounded"))).toEqual(one);

  const changed = await finish([
    "train",
    small.config,
    ...set,
    "--resume",
    runOf("wounded"),
    "--set",
    "train.microbatch=2",
  ]);
  expect(changed.code).toBe(2);
  expect(changed.stderr).toContain("train.microbatch: 2 now, 4 in the run");
});
