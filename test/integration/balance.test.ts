import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, smallRun, start } from "../support/cli.ts";

test("batches follow the measured speed of workers that are not alike, and samples and losses stay those of one", async () => {
  const small = await smallRun({ steps: 16, eval_every: 0, eval_sequences: 1, microbatch: 12 });
  // WebAssembly, and plain JavaScript, which is slower by far whatever else the machine does.
  const engine = ["--set", "cluster.engine=tfjs", "--set", "cluster.device=wasm", "--set", "model.hidden=128"];
  const coordinator = start([
    ...["coordinator", small.config, ...engine, "--set", "checkpoint.name=unlike", "--set", "cluster.workers=2"],
    ...["--set", "cluster.balance=speed"],
  ]);
  const [, address, token] = await coordinator.waitFor(/ringtune worker --coordinator (\S+) --token-file (\S+)/);
  const worker = ["worker", "--coordinator", address!, "--token-file", token!];
  start([...worker, "--id", "fast"]);
  start([...worker, "--id", "slow", "--device", "cpu"]);
  const result = await coordinator.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  const [, , rows = "", speeds] =
    /shards follow the measured speeds from step (\d+) on: .*fast 6 -> (\d+) \((\S+) rows\/s\)/.exec(result.stdout) ??
    [];
  expect(Number(rows), result.stdout).toBeGreaterThan(6);
  expect(Number(speeds)).toBeGreaterThan(0);

  const alone = await finish(["train", small.config, ...engine, "--set", "checkpoint.name=alone"]);
  expect(alone, alone.stderr).toMatchObject({ code: 0 });
  const [steps, expected] = await Promise.all(
    ["unlike", "alone"].map((name) => readSteps(join(small.folder, "runs", name))),
  );
  expect(steps!.map(({ ledger }) => ledger?.digest)).toEqual(expected!.map(({ ledger }) => ledger?.digest));
  for (const [i, { loss }] of steps!.entries()) expect(Math.abs(loss / expected![i]!.loss - 1)).toBeLessThan(1e-4);
});
