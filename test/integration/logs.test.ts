import { join } from "node:path";
import { expect, test } from "vitest";
import type { LogLine } from "../../common/log-line.ts";
import { finish, smallRun, start } from "../support/cli.ts";

test("a run on one screen while it lasts, and its log afterwards: all of it, or of one worker", async () => {
  const { folder, config } = await smallRun({ steps: 200, eval_every: 0 });
  const run = join(folder, "runs/watched");
  const train = start(["train", config, "--workers", "2", "--set", "checkpoint.name=watched"], { cwd: folder });
  await train.waitFor(/step +2\/200/);
  const watch = start(["watch", run, "--every", "0.1"]);
  await watch.waitFor(/w0 +healthy +0 /);
  await watch.waitFor(/step \d+\/200 .*tokens\/s .*ETA/);
  await watch.waitFor(/loss [\d.]+ .*▁/);
  expect((await train.finished).code, train.output()).toBe(0);
  expect(await watch.finished).toMatchObject({ code: 0 });
  expect(watch.output()).toContain("nobody coordinates");
  expect(watch.output()).not.toContain("\u001b");

  const all = await finish(["logs", run]);
  expect(all.code, all.stderr).toBe(0);
  const lines = all.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogLine);
  expect(new Set(lines.map(({ job }) => job))).toEqual(new Set(["watched"]));
  expect(lines.at(-1)).toMatchObject({ step: 200, message: "the run is complete after step 200" });
  const one = await finish(["logs", run, "w1"]);
  const messages = one.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogLine);
  expect(new Set(messages.map(({ worker }) => worker))).toEqual(new Set(["w1"]));
  expect(messages.map(({ message }) => message)).toEqual([
    "joined",
    expect.stringMatching(/^takes part in generation 1 with the weights of step 0, on onnx cpu/),
    "left, as it was told to",
  ]);
  expect(messages[1]).toMatchObject({ generation: 1, step: 0, rank: expect.any(Number) as number });
});
