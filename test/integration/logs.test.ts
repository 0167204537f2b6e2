import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { LogLine } from "../../common/log-line.ts";
import type { ChromeTrace } from "../../coordinator/trace/chrome-trace.ts";
import { finish, smallRun, start } from "../support/cli.ts";

test("a run on one screen while it lasts, and its log afterwards: all of it, or of one worker", async () => {
  const { folder, config } = await smallRun({ steps: 1_000_000, eval_every: 0 });
  const run = join(folder, "runs/watched");
  const train = start(["train", config, "--workers", "2", "--set", "checkpoint.name=watched"], { cwd: folder });
  await train.waitFor(/step +2\/1000000/);
  const watch = start(["watch", run, "--every", "0.1"]);
  await watch.waitFor(/w0 +healthy +[01] /);
  await watch.waitFor(/step \d+\/1000000 .*tokens\/s .*ETA/);
  await watch.waitFor(/loss [\d.]+ .*▁/);
  const out = join(folder, "trace.json");
  const traced = await finish(["trace", run, "--steps", "3", "--out", out]);
  expect(traced.stdout, traced.stderr).toMatch(/from the last vote to the commit the coordinator took [\d.]+ ms/);
  const { traceEvents } = JSON.parse(await readFile(out, "utf8")) as ChromeTrace;
  expect(traceEvents.filter(({ name }) => name === "all-reduce")).toHaveLength(2 * 3);
  const summary = await finish(["trace", run, "--summary"], { cwd: folder });
  expect(summary.stdout, summary.stderr).toMatch(
    /^steps \d+ to \d+: .*\n +median +p90 +max\n[^]*coordinator: last vote to commit +[\d.e-]+ ms +[\d.e-]+ ms +[\d.e-]+ ms\n/,
  );
  train.child.kill("SIGINT");
  expect((await train.finished).code, train.output()).toBe(130);
  const seen = await watch.finished;
  expect(seen, seen.stderr).toMatchObject({ code: 0 });
  expect(watch.output()).toContain("nobody coordinates");
  expect(watch.output()).not.toContain("\u001b");

  const all = await finish(["logs", run]);
  expect(all.code, all.stderr).toBe(0);
  const lines = all.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogLine);
  expect(new Set(lines.map(({ job }) => job))).toEqual(new Set(["watched"]));
  const last = lines.find(({ message }) => /^the run stopped after step \d+: stopped by SIGINT$/.test(message));
  expect(last).toMatchObject({ level: "info", step: expect.any(Number) as number });
  const one = await finish(["logs", run, "w1"]);
  const messages = one.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogLine);
  expect(new Set(messages.map(({ worker }) => worker))).toEqual(new Set(["w1"]));
  const said = messages.map(({ message }) => message);
  expect(said[0]).toBe("joined");
  expect(said[1]).toMatch(/^takes part in generation 1 with the weights of step 0, on onnx cpu/);
  expect(said).toContain(`wrote its part of the checkpoint of step ${last!.step}`);
  expect(said.at(-1)).toBe("left, as it was told to");
  expect(messages[1]).toMatchObject({ generation: 1, step: 0, rank: expect.any(Number) as number });
});

test("with --log json every line of a run is an object that says when, of which run, and at which step", async () => {
  const { folder, config } = await smallRun({ steps: 6, eval_every: 3 });
  const args = ["train", config, "--log", "json", "--set", "checkpoint.name=told"];
  const { code, stdout, stderr } = await finish(args, { cwd: folder });
  expect(code, stderr).toBe(0);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogLine & { record?: { kind: string; step: number } });
  for (const line of lines) expect(line).toMatchObject({ time: expect.stringMatching(/Z$/) as string, level: "info" });
  const steps = lines.filter(({ record }) => record?.kind === "step");
  expect(steps.map(({ job, generation, step }) => ({ job, generation, step }))).toEqual(
    [1, 2, 3, 4, 5, 6].map((step) => ({ job: "told", generation: 1, step })),
  );
  expect(lines.at(-1)!.message).toMatch(/^done: 6 steps/);
});
